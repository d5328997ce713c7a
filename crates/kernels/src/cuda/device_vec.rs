//! Memory on the GPU.

use super::{Arg, Cuda};
use cudarc::driver::{CudaSlice, CudaView, CudaViewMut, DeviceRepr};
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::sync::PoisonError;

/// What vectors on the GPU hold: any 32 bits are one.
pub trait Element: DeviceRepr + Copy + Default + fmt::Debug + 'static {}

impl Element for f32 {}
impl Element for u32 {}

/// Elements on the GPU; its memory goes back to the [`Cuda`] it came from.
pub struct DeviceVec<T> {
    words: ManuallyDrop<CudaSlice<u32>>,
    len: usize,
    cuda: Cuda,
    element: PhantomData<T>,
}

impl<T: Element> DeviceVec<T> {
    pub(super) fn new(cuda: &Cuda, words: CudaSlice<u32>, len: usize) -> Self {
        Self { words: ManuallyDrop::new(words), len, cuda: cuda.clone(), element: PhantomData }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A copy on the host, once everything launched so far is done.
    pub fn to_vec(&self) -> Vec<T> {
        let mut data = vec![T::default(); self.len];
        if !data.is_empty() {
            let stream = &self.cuda.inner.stream;
            self.cuda.check(stream.memcpy_dtoh(&self.view(), &mut data));
            self.cuda.synchronize();
        }
        data
    }

    /// A second copy on the GPU.
    pub fn duplicate(&self) -> Self {
        let mut copy = self.cuda.output(self.len);
        if self.len > 0 {
            let stream = &self.cuda.inner.stream;
            let result = stream.memcpy_dtod(&self.view(), &mut copy.view_mut());
            self.cuda.check(result);
        }
        copy
    }

    /// Sets all elements to 0.
    pub fn fill_zero(&mut self) {
        if self.len > 0 {
            let stream = self.cuda.inner.stream.clone();
            let result = stream.memset_zeros(&mut self.words.slice_mut(..self.len));
            self.cuda.check(result);
        }
    }

    /// Overwrites all elements.
    ///
    /// # Panics
    ///
    /// If `data` is not as long.
    #[track_caller]
    pub fn copy_from(&mut self, data: &[T]) {
        assert_eq!(data.len(), self.len, "elements for a vector on the GPU");
        if !data.is_empty() {
            let stream = self.cuda.inner.stream.clone();
            let result = stream.memcpy_htod(data, &mut self.view_mut());
            self.cuda.check(result);
        }
    }

    /// The address of element `first`, for a kernel that reads or writes from there on.
    ///
    /// # Panics
    ///
    /// If there are fewer elements.
    #[track_caller]
    pub(crate) fn at(&self, first: usize) -> Arg {
        assert!(first <= self.len, "element {first} of {}", self.len);
        let stream = &self.cuda.inner.stream;
        let (address, _) = cudarc::driver::DevicePtr::device_ptr(&*self.words, stream);
        Arg::Address(address + (first * size_of::<T>()) as u64)
    }

    fn view(&self) -> CudaView<'_, T> {
        // SAFETY: elements are 32 bits of any value, and the words are at least as many.
        unsafe { self.words.transmute(self.len) }.expect("as many words as elements")
    }

    fn view_mut(&mut self) -> CudaViewMut<'_, T> {
        let len = self.len;
        // SAFETY: as in `view`.
        unsafe { self.words.transmute_mut(len) }.expect("as many words as elements")
    }
}

impl<T: Element> From<&DeviceVec<T>> for Arg {
    fn from(vec: &DeviceVec<T>) -> Self {
        vec.at(0)
    }
}

impl<T: Element> From<&mut DeviceVec<T>> for Arg {
    fn from(vec: &mut DeviceVec<T>) -> Self {
        vec.at(0)
    }
}

impl<T> Drop for DeviceVec<T> {
    fn drop(&mut self) {
        // SAFETY: the field is not used again.
        let words = unsafe { ManuallyDrop::take(&mut self.words) };
        let mut free = self.cuda.inner.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.entry(words.len()).or_default().push(words);
    }
}

impl<T> fmt::Debug for DeviceVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceVec({} on {:?})", self.len, self.cuda)
    }
}
