//! The same operations on an NVIDIA GPU: one `.cu` file per operation, compiled when the device is
//! opened, and beside it the Rust that checks lengths and launches.
//!
//! The driver and the compiler (NVRTC) are libraries looked for at run time, so everything builds
//! and starts on a machine without either. All work goes to one stream: what is launched first is
//! done first, and memory given back may be used again by whatever is launched later.
//!
//! Every operation has its twin on the CPU, whose `reference` is the definition of both; the tests
//! of this folder compare the two and say `skipped` where there is no GPU. Sums are taken in a fixed
//! order, without atomics: the same input gives the same bits.

#![expect(unsafe_code, reason = "kernels are launched through the driver's C interface")]

pub mod activation;
pub mod adamw;
pub mod attention;
pub mod cross_entropy;
mod device_vec;
pub mod elementwise;
pub mod embedding;
pub mod lightning_attention;
pub mod matmul;
pub mod moe;
pub mod muon;
pub mod rms_norm;
pub mod rope;

#[cfg(test)]
mod testing;

pub use device_vec::{DeviceVec, Element};

use crate::buffers::size_class;
use cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, DriverError, result, sys,
};
use cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use std::collections::{BTreeMap, HashMap};
use std::ffi::c_void;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// All kernels, as one program: what `common.cu` defines is seen by the rest.
const SOURCES: [&str; 14] = [
    include_str!("common.cu"),
    include_str!("adamw.cu"),
    include_str!("elementwise.cu"),
    include_str!("matmul.cu"),
    // After what it uses of the two above.
    include_str!("muon.cu"),
    include_str!("tile.cu"),
    include_str!("attention.cu"),
    include_str!("lightning_attention.cu"),
    include_str!("rope.cu"),
    include_str!("activation.cu"),
    include_str!("cross_entropy.cu"),
    include_str!("embedding.cu"),
    include_str!("moe.cu"),
    include_str!("rms_norm.cu"),
];

/// A handle to a GPU; clones share its memory and its kernels.
#[derive(Clone)]
pub struct Cuda {
    inner: Arc<Inner>,
}

struct Inner {
    stream: Arc<CudaStream>,
    module: Arc<CudaModule>,
    functions: Mutex<HashMap<&'static str, CudaFunction>>,
    /// Unused memory by number of 4-byte words.
    free: Mutex<BTreeMap<usize, Vec<CudaSlice<u32>>>>,
    name: String,
}

/// Why a GPU cannot be used.
#[derive(Debug)]
pub enum Unavailable {
    /// The library is not installed.
    NoLibrary(&'static str),
    /// The driver refuses.
    Driver(DriverError),
    /// The kernels do not compile: the compiler's own words.
    Compiler(String),
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLibrary(name) => write!(f, "the library {name} is not installed"),
            Self::Driver(error) => write!(f, "the driver says {error}"),
            Self::Compiler(log) => write!(f, "its kernels do not compile: {log}"),
        }
    }
}

impl std::error::Error for Unavailable {}

impl From<DriverError> for Unavailable {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

/// What a kernel takes: a number, or the address of the first element of a [`DeviceVec`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arg {
    F32(f32),
    U32(u32),
    Address(u64),
}

impl From<f32> for Arg {
    fn from(x: f32) -> Self {
        Self::F32(x)
    }
}

impl From<usize> for Arg {
    #[track_caller]
    fn from(x: usize) -> Self {
        Self::U32(u32::try_from(x).expect("sizes on the GPU are below 2^32"))
    }
}

impl Cuda {
    /// Opens GPU number `ordinal` and compiles the kernels for it: some seconds.
    ///
    /// # Errors
    ///
    /// If there is no such GPU, or no driver or compiler.
    pub fn new(ordinal: usize) -> Result<Self, Unavailable> {
        // SAFETY: loading these libraries runs their initializers and nothing else.
        let (driver, compiler) =
            unsafe { (sys::is_culib_present(), cudarc::nvrtc::sys::is_culib_present()) };
        if !driver {
            return Err(Unavailable::NoLibrary("libcuda"));
        }
        if !compiler {
            return Err(Unavailable::NoLibrary("libnvrtc"));
        }
        let context = CudaContext::new(ordinal)?;
        let (major, minor) = context.compute_capability()?;
        let options = CompileOptions {
            options: vec![format!("--gpu-architecture=sm_{major}{minor}"), "-std=c++17".to_owned()],
            ..CompileOptions::default()
        };
        let source = SOURCES.concat();
        let program = compile_ptx_with_opts(source, options)
            .map_err(|error| Unavailable::Compiler(format!("{error:?}")))?;
        let inner = Inner {
            stream: context.default_stream(),
            module: context.load_module(program)?,
            functions: Mutex::default(),
            free: Mutex::default(),
            name: context.name()?,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The GPU's name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// `len` elements, contents arbitrary.
    pub fn output<T: Element>(&self, len: usize) -> DeviceVec<T> {
        let size = size_class(len.max(1));
        let mut free = self.inner.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fitting = free.range_mut(size..=2 * size);
        let kept = fitting.find_map(|(_, slices)| slices.pop());
        drop(free);
        let words = kept.unwrap_or_else(|| {
            // SAFETY: any bits are an element, and whoever reads them first has written them.
            self.check(unsafe { self.inner.stream.alloc(size) })
        });
        DeviceVec::new(self, words, len)
    }

    /// `len` elements, all 0.
    pub fn zeros<T: Element>(&self, len: usize) -> DeviceVec<T> {
        let mut vec = self.output(len);
        vec.fill_zero();
        vec
    }

    /// A copy of `data` on the GPU.
    pub fn upload<T: Element>(&self, data: &[T]) -> DeviceVec<T> {
        let mut vec = self.output(data.len());
        vec.copy_from(data);
        vec
    }

    /// Waits until everything launched so far is done.
    pub fn synchronize(&self) {
        self.check(self.inner.stream.synchronize());
    }

    /// Runs the kernel `name` on `grid` blocks of `block` threads; none if the grid is empty.
    ///
    /// # Safety
    ///
    /// `args` are the parameters of the kernel in its order, and what it reads and writes lies
    /// within the vectors they point to.
    pub(crate) unsafe fn launch(
        &self,
        name: &'static str,
        grid: [usize; 3],
        block: usize,
        args: &[Arg],
    ) {
        if grid.contains(&0) {
            return;
        }
        let grid = grid.map(|n| u32::try_from(n).expect("a grid below 2^32 blocks"));
        let function = self.function(name);
        let mut pointers: Vec<*mut c_void> = args
            .iter()
            .map(|arg| match arg {
                Arg::F32(x) => std::ptr::from_ref(x).cast_mut().cast(),
                Arg::U32(x) => std::ptr::from_ref(x).cast_mut().cast(),
                Arg::Address(x) => std::ptr::from_ref(x).cast_mut().cast(),
            })
            .collect();
        self.check(self.inner.stream.context().bind_to_thread());
        let stream = self.inner.stream.cu_stream();
        let block = (block as u32, 1, 1);
        let [x, y, z] = grid;
        // SAFETY: the caller vouches for the arguments; they are copied before this returns.
        self.check(unsafe {
            result::launch_kernel(
                function.cu_function(),
                (x, y, z),
                block,
                0,
                stream,
                &mut pointers,
            )
        });
    }

    fn function(&self, name: &'static str) -> CudaFunction {
        let mut functions = self.inner.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let load = || self.check(self.inner.module.load_function(name));
        functions.entry(name).or_insert_with(load).clone()
    }

    /// Operations panic where the device fails, as they do where shapes disagree.
    #[track_caller]
    fn check<T>(&self, result: Result<T, DriverError>) -> T {
        result.unwrap_or_else(|error| panic!("{}: {error}", self.inner.name))
    }
}

impl fmt::Debug for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cuda({})", self.inner.name)
    }
}
