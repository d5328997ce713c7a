//! The tensor: a shape, its elements, the device, and how it was computed if the tape is on.

use crate::Device;
use crate::tape::Node;
use kernels::cuda::DeviceVec;
use kernels::half::{Bf16, bf16_to_f32, f32_to_bf16};
use kernels::matmul::Elements;
use kernels::quant::{self, Format, Unrepresentable};
use kernels::{Buffers, Rng};
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Normal numbers that a thread draws at once.
const NORMALS: usize = 1 << 14;

/// A dense row-major array; clones share the elements.
///
/// Activations are f32; weights are f32 or bf16. A tensor made by [`Tensor::into_parameter`], or
/// computed from one, remembers how it was computed, so that [`Tensor::backward`] can follow.
#[derive(Clone)]
pub struct Tensor(Arc<Inner>);

pub(crate) struct Inner {
    shape: Vec<usize>,
    storage: Storage,
    device: Device,
    pub(crate) is_parameter: bool,
    pub(crate) node: Option<Node>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            node.drop_graph();
        }
    }
}

enum Storage {
    F32(Arc<Pooled>),
    Bf16(Arc<Vec<Bf16>>),
    Gpu(Arc<DeviceVec<f32>>),
}

/// What an operation computed: f32 in the memory of the CPU or of the GPU.
pub(crate) enum Data {
    Cpu(Vec<f32>),
    Gpu(DeviceVec<f32>),
}

impl From<Vec<f32>> for Data {
    fn from(data: Vec<f32>) -> Self {
        Self::Cpu(data)
    }
}

impl From<DeviceVec<f32>> for Data {
    fn from(data: DeviceVec<f32>) -> Self {
        Self::Gpu(data)
    }
}

/// Elements that go back to the device's store when the last tensor over them is dropped.
struct Pooled {
    data: Vec<f32>,
    home: Buffers,
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.home.give(std::mem::take(&mut self.data));
    }
}

impl Tensor {
    /// A tensor of f32.
    ///
    /// # Panics
    ///
    /// If `data` is not as long as `shape` says.
    #[track_caller]
    pub fn new(device: &Device, shape: &[usize], data: Vec<f32>) -> Self {
        Self::from_data(device, shape, data)
    }

    /// A tensor of what an operation computed, moved to `device` if it is not there.
    #[track_caller]
    pub(crate) fn from_data(device: &Device, shape: &[usize], data: impl Into<Data>) -> Self {
        let storage = match (data.into(), device.cuda()) {
            (Data::Gpu(data), _) => {
                check_len(shape, data.len());
                Storage::Gpu(Arc::new(data))
            }
            (Data::Cpu(data), Some(cuda)) => {
                check_len(shape, data.len());
                Storage::Gpu(Arc::new(cuda.upload(&data)))
            }
            (Data::Cpu(data), None) => {
                check_len(shape, data.len());
                let home = device.exec().buffers.clone();
                Storage::F32(Arc::new(Pooled { data, home }))
            }
        };
        Self::from_storage(device, shape, storage)
    }

    /// A tensor of bf16, given as bits; the GPU has none of these yet.
    ///
    /// # Panics
    ///
    /// If `data` is not as long as `shape` says, or `device` is a GPU.
    #[track_caller]
    pub fn from_bf16(device: &Device, shape: &[usize], data: Vec<Bf16>) -> Self {
        check_len(shape, data.len());
        assert!(device.cuda().is_none(), "bf16 tensors live on the CPU only");
        Self::from_storage(device, shape, Storage::Bf16(Arc::new(data)))
    }

    /// A tensor of f32, all `value`.
    pub fn full(device: &Device, shape: &[usize], value: f32) -> Self {
        Self::new(device, shape, vec![value; shape.iter().product()])
    }

    /// A tensor of f32, all zeros.
    pub fn zeros(device: &Device, shape: &[usize]) -> Self {
        Self::full(device, shape, 0.0)
    }

    /// A tensor of f32 drawn from a normal distribution with mean 0; the same for any number of threads.
    pub fn normal(device: &Device, shape: &[usize], std: f32, rng: &mut Rng) -> Self {
        let mut data = vec![0.0; shape.iter().product()];
        let first = rng.clone();
        device.exec().threads.for_each_chunk(&mut data, NORMALS, |piece, data| {
            let mut rng = first.clone();
            rng.skip_normals((piece * NORMALS) as u64);
            data.fill_with(|| rng.normal() * std);
        });
        rng.skip_normals(data.len() as u64);
        Self::new(device, shape, data)
    }

    /// Runs of elements of several tensors, one after the other, under a new shape; bf16 if all
    /// are.
    ///
    /// # Panics
    ///
    /// If there are no parts, a run is out of bounds, or the runs are not as long as `shape` says.
    #[track_caller]
    pub fn concat(parts: &[(&Self, Range<usize>)], shape: &[usize]) -> Self {
        let device = parts[0].0.device();
        let len = parts.iter().map(|(_, run)| run.len()).sum();
        if parts.iter().all(|(tensor, _)| tensor.is_bf16()) {
            let mut data = Vec::with_capacity(len);
            for (tensor, run) in parts {
                if let Elements::Bf16(elements) = tensor.elements() {
                    data.extend_from_slice(&elements[run.clone()]);
                }
            }
            return Self::from_bf16(device, shape, data);
        }
        let mut data = Vec::with_capacity(len);
        for (tensor, run) in parts {
            match &tensor.0.storage {
                Storage::F32(pooled) => data.extend_from_slice(&pooled.data[run.clone()]),
                _ => data.extend_from_slice(&tensor.to_vec()[run.clone()]),
            }
        }
        Self::new(device, shape, data)
    }

    fn from_storage(device: &Device, shape: &[usize], storage: Storage) -> Self {
        Self(Arc::new(Inner {
            shape: shape.to_vec(),
            storage,
            device: device.clone(),
            is_parameter: false,
            node: None,
        }))
    }

    /// Sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    /// Size of the innermost dimension; 1 for a scalar.
    pub fn last_dim(&self) -> usize {
        self.0.shape.last().copied().unwrap_or(1)
    }

    /// Number of rows if all dimensions but the innermost are taken together.
    pub fn rows(&self) -> usize {
        let dims = &self.0.shape;
        dims[..dims.len().saturating_sub(1)].iter().product()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the tensor lives.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// Whether the elements are bf16.
    pub fn is_bf16(&self) -> bool {
        matches!(self.0.storage, Storage::Bf16(_))
    }

    /// Bytes of the elements.
    pub fn bytes(&self) -> usize {
        self.len() * if self.is_bf16() { 2 } else { 4 }
    }

    /// The elements of an f32 tensor on the CPU.
    ///
    /// # Panics
    ///
    /// If the tensor is bf16 or on the GPU.
    #[track_caller]
    pub fn data(&self) -> &[f32] {
        match self.elements() {
            Elements::F32(data) => data,
            Elements::Bf16(_) => panic!("a bf16 tensor where f32 is needed: {self:?}"),
        }
    }

    /// The elements, whichever type they have.
    ///
    /// # Panics
    ///
    /// If the tensor is on the GPU.
    #[track_caller]
    pub fn elements(&self) -> Elements<'_> {
        match &self.0.storage {
            Storage::F32(pooled) => Elements::F32(&pooled.data),
            Storage::Bf16(data) => Elements::Bf16(data),
            Storage::Gpu(_) => panic!("a tensor on the GPU where the CPU computes: {self:?}"),
        }
    }

    /// The elements on the GPU.
    #[track_caller]
    pub(crate) fn gpu(&self) -> &DeviceVec<f32> {
        match &self.0.storage {
            Storage::Gpu(data) => data,
            _ => panic!("a tensor on the CPU where the GPU computes: {self:?}"),
        }
    }

    /// The elements of an f32 tensor where the CPU can read them, for operations that have no twin on
    /// the GPU yet; copied if they are there.
    #[track_caller]
    pub(crate) fn host_data(&self) -> Cow<'_, [f32]> {
        match &self.0.storage {
            Storage::Gpu(data) => data.to_vec().into(),
            _ => self.data().into(),
        }
    }

    /// The elements as f32, converted if they are bf16, copied if they are on the GPU.
    pub fn to_vec(&self) -> Vec<f32> {
        match &self.0.storage {
            Storage::F32(pooled) => pooled.data.clone(),
            Storage::Bf16(data) => data.iter().map(|&x| bf16_to_f32(x)).collect(),
            Storage::Gpu(data) => data.to_vec(),
        }
    }

    /// The same elements on `device`, without the memory of how they were computed.
    ///
    /// # Panics
    ///
    /// If bf16 elements are to go to a GPU.
    #[track_caller]
    pub fn to_device(&self, device: &Device) -> Self {
        match (&self.0.storage, device.cuda()) {
            (Storage::Gpu(_), Some(_)) | (Storage::F32(_) | Storage::Bf16(_), None) => {
                self.detach()
            }
            _ => Self::new(device, self.shape(), self.to_vec()),
        }
    }

    /// The elements, to be changed in place.
    ///
    /// # Panics
    ///
    /// If the tensor is bf16 or on the GPU, or another tensor shares its elements.
    #[track_caller]
    pub fn data_mut(&mut self) -> &mut [f32] {
        match self.storage_mut() {
            Storage::F32(pooled) => &mut Arc::get_mut(pooled).expect(SHARED).data,
            Storage::Bf16(_) => panic!("a bf16 tensor cannot be changed in place"),
            Storage::Gpu(_) => panic!("a tensor on the GPU where the CPU computes"),
        }
    }

    /// The elements on the GPU, to be changed in place.
    #[track_caller]
    pub(crate) fn gpu_mut(&mut self) -> &mut DeviceVec<f32> {
        match self.storage_mut() {
            Storage::Gpu(data) => Arc::get_mut(data).expect(SHARED),
            _ => panic!("a tensor on the CPU where the GPU computes"),
        }
    }

    #[track_caller]
    fn storage_mut(&mut self) -> &mut Storage {
        &mut Arc::get_mut(&mut self.0).expect(SHARED).storage
    }

    /// The same elements under another shape; no copy.
    ///
    /// # Panics
    ///
    /// If the number of elements differs.
    #[track_caller]
    pub fn reshape(&self, shape: &[usize]) -> Self {
        check_len(shape, self.len());
        let old = self.shape().to_vec();
        let node = self.tracked().then(|| {
            Node::new(vec![self.clone()], move |grad: Self| vec![Some(grad.reshape(&old))])
        });
        Self(Arc::new(Inner {
            shape: shape.to_vec(),
            storage: self.share(),
            device: self.device().clone(),
            is_parameter: false,
            node,
        }))
    }

    /// The same elements, rounded to bf16.
    ///
    /// # Panics
    ///
    /// If the tensor is on the GPU.
    #[track_caller]
    pub fn to_bf16(&self) -> Self {
        match self.elements() {
            Elements::Bf16(_) => self.detach(),
            Elements::F32(data) => {
                let data = data.iter().map(|&x| f32_to_bf16(x)).collect();
                Self::from_bf16(self.device(), self.shape(), data)
            }
        }
    }

    /// A run of elements in blocks of `format`, made on all threads.
    ///
    /// # Errors
    ///
    /// Names the first number that a block cannot hold, by its place in the run.
    ///
    /// # Panics
    ///
    /// If the run is out of bounds or not whole blocks, or the format is only read.
    #[track_caller]
    pub fn to_blocks(&self, format: Format, run: Range<usize>) -> Result<Vec<u8>, Unrepresentable> {
        let mut blocks = vec![0; run.len() / format.block_len() * format.block_bytes()];
        let threads = &self.device().exec().threads;
        let widened: Vec<f32>;
        let x = match self.elements() {
            Elements::F32(data) => &data[run],
            Elements::Bf16(data) => {
                widened = data[run].iter().map(|&x| bf16_to_f32(x)).collect();
                &widened
            }
        };
        quant::quantize_threaded(threads, format, x, &mut blocks).map(|()| blocks)
    }

    /// The same elements as f32.
    pub fn to_f32(&self) -> Self {
        match &self.0.storage {
            Storage::F32(_) | Storage::Gpu(_) => self.detach(),
            Storage::Bf16(_) => Self::new(self.device(), self.shape(), self.to_vec()),
        }
    }

    /// The same elements without the memory of how they were computed.
    pub fn detach(&self) -> Self {
        Self::from_storage(self.device(), self.shape(), self.share())
    }

    /// The same elements as something to be trained: gradients will be computed for it.
    pub fn into_parameter(self) -> Self {
        Self(Arc::new(Inner {
            shape: self.shape().to_vec(),
            storage: self.share(),
            device: self.device().clone(),
            is_parameter: true,
            node: None,
        }))
    }

    fn share(&self) -> Storage {
        match &self.0.storage {
            Storage::Gpu(data) => Storage::Gpu(Arc::clone(data)),
            Storage::F32(pooled) => Storage::F32(Arc::clone(pooled)),
            Storage::Bf16(data) => Storage::Bf16(Arc::clone(data)),
        }
    }

    /// How this was computed, if nobody else holds it.
    pub(crate) fn into_node(self) -> Option<Node> {
        Arc::into_inner(self.0).and_then(|mut inner| inner.node.take())
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    /// What tells this tensor from all others alive.
    pub(crate) fn key(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    /// An output buffer of `len` elements, contents arbitrary.
    pub(crate) fn output(&self, len: usize) -> Vec<f32> {
        self.device().exec().buffers.take(len)
    }

    /// The result of an operation, on the tape if one of its inputs is.
    ///
    /// `backward` gets the gradient of the result and returns one gradient for each parent.
    #[track_caller]
    pub(crate) fn from_op(
        shape: &[usize],
        data: impl Into<Data>,
        parents: &[&Self],
        backward: impl FnOnce(Self) -> Vec<Option<Self>> + Send + Sync + 'static,
    ) -> Self {
        Self::from_data(parents[0].device(), shape, data).with_node(parents, backward)
    }

    /// A tensor of the shape of this one.
    #[track_caller]
    pub(crate) fn like(&self, data: impl Into<Data>) -> Self {
        Self::from_data(self.device(), self.shape(), data)
    }

    /// The same elements, on the tape if one of `parents` is.
    pub(crate) fn with_node(
        self,
        parents: &[&Self],
        backward: impl FnOnce(Self) -> Vec<Option<Self>> + Send + Sync + 'static,
    ) -> Self {
        if !parents.iter().any(|parent| parent.tracked()) {
            return self;
        }
        let parents = parents.iter().map(|&parent| parent.clone()).collect();
        Self(Arc::new(Inner {
            shape: self.shape().to_vec(),
            storage: self.share(),
            device: self.device().clone(),
            is_parameter: false,
            node: Some(Node::new(parents, backward)),
        }))
    }
}

const SHARED: &str = "the elements are shared with another tensor";

#[track_caller]
fn check_len(shape: &[usize], len: usize) {
    let expected: usize = shape.iter().product();
    assert_eq!(len, expected, "{len} elements for shape {shape:?}");
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dtype = if self.is_bf16() { "bf16" } else { "f32" };
        write!(f, "Tensor({dtype}, {:?})", self.shape())
    }
}
