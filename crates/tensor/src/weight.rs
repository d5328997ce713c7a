//! Weights of matrix products: kept as checkpoints store them, multiplied in a packed layout.

use crate::gguf::{DType, Format};
use crate::{Device, Tensor};
use kernels::matmul::{Elements, Packed};
use std::fmt;
use std::sync::OnceLock;

/// In what precision weights take part in products; accumulation is f32 in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// As they are; bf16 that is stored as such is widened in flight, and what it is multiplied with
    /// stays f32.
    F32,
    /// Rounded to bf16; the f32 values remain what the optimizer changes. On levels with a unit for
    /// bf16 (`avx512_bf16`, `amx_bf16`) activations are rounded to bf16 as they enter the product,
    /// and gradients as they enter that for the gradient of activations; those of weights are
    /// products in f32, but of convolutions with strides of 1, where both sides are rounded.
    Bf16,
}

/// One matrix `[n, k]`, or one for each expert, `[experts, n, k]`.
pub struct Weight {
    /// `None` once [`freeze`](Self::freeze) has left only the packed form.
    tensor: Option<Tensor>,
    shape: Vec<usize>,
    precision: Precision,
    /// Of a weight that came in blocks.
    blocks: Option<Format>,
    packed: OnceLock<Vec<Packed>>,
}

impl Weight {
    /// A weight that is packed when it is first used.
    ///
    /// # Panics
    ///
    /// If `tensor` has neither two nor three dimensions.
    #[track_caller]
    pub fn new(tensor: Tensor, precision: Precision) -> Self {
        let shape = tensor.shape().to_vec();
        assert!(matches!(shape.len(), 2 | 3), "a weight of shape {shape:?}");
        Self { tensor: Some(tensor), shape, precision, blocks: None, packed: OnceLock::new() }
    }

    /// A frozen weight of `shape` in blocks of Q8_0, Q4_0 or Q4_K: the bytes of one matrix after the
    /// other. What it multiplies is rounded to blocks of 8 bits (`kernels::matmul::int8`), and it
    /// gives the same bits on every level.
    ///
    /// # Panics
    ///
    /// If the format is another, or the bytes are not those of matrices of that shape.
    #[track_caller]
    pub fn from_blocks(device: &Device, shape: &[usize], format: Format, parts: &[&[u8]]) -> Self {
        let [.., n, k] = *shape else { panic!("a weight of shape {shape:?}") };
        let experts: usize = shape[..shape.len() - 2].iter().product();
        assert_eq!(parts.len(), experts, "matrices of a weight of shape {shape:?}");
        let pack = |bytes: &&[u8]| Packed::from_blocks(device.exec(), format, bytes, n, k);
        Self {
            tensor: None,
            shape: shape.to_vec(),
            precision: Precision::F32,
            blocks: Some(format),
            packed: OnceLock::from(parts.iter().map(pack).collect::<Vec<_>>()),
        }
    }

    /// A frozen weight of `shape` in bf16, packed from where its matrices are: for inference, nothing is
    /// copied before.
    ///
    /// # Panics
    ///
    /// If these are not matrices of that shape.
    #[track_caller]
    pub fn from_bf16(
        device: &Device,
        shape: &[usize],
        precision: Precision,
        parts: &[&[u16]],
    ) -> Self {
        let [.., n, k] = *shape else { panic!("a weight of shape {shape:?}") };
        let experts: usize = shape[..shape.len() - 2].iter().product();
        assert_eq!(parts.len(), experts, "matrices of a weight of shape {shape:?}");
        let matrices = parts.iter().map(|part| Elements::Bf16(part));
        let packed = pack_all(device, precision, matrices, [n, k]);
        let (shape, packed) = (shape.to_vec(), OnceLock::from(packed));
        Self { tensor: None, shape, precision, blocks: None, packed }
    }

    /// Packs now and drops the original: for inference, half the memory.
    pub fn freeze(&mut self) {
        self.packed();
        self.tensor = None;
    }

    /// `[n, k]` or `[experts, n, k]`.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The type that products take it as.
    pub fn dtype(&self) -> DType {
        match (self.blocks, self.precision) {
            (Some(format), _) => DType::Blocks(format),
            (None, Precision::F32) => DType::F32,
            (None, Precision::Bf16) => DType::Bf16,
        }
    }

    /// Number of matrices.
    pub fn num_experts(&self) -> usize {
        if self.shape.len() == 3 { self.shape[0] } else { 1 }
    }

    /// Columns of a product.
    pub fn n(&self) -> usize {
        self.shape[self.shape.len() - 2]
    }

    /// Columns of what it multiplies.
    pub fn k(&self) -> usize {
        self.shape[self.shape.len() - 1]
    }

    /// The weight as it was given.
    ///
    /// # Panics
    ///
    /// If it is frozen.
    #[track_caller]
    pub fn tensor(&self) -> &Tensor {
        self.tensor.as_ref().expect("a frozen weight has only its packed form")
    }

    /// The weight, to be changed; the packed form is made anew.
    ///
    /// # Panics
    ///
    /// If it is frozen.
    #[track_caller]
    pub fn tensor_mut(&mut self) -> &mut Tensor {
        self.packed.take();
        self.tensor.as_mut().expect("a frozen weight has only its packed form")
    }

    /// Whether gradients are to be computed for it.
    pub fn tracked(&self) -> bool {
        self.tensor.as_ref().is_some_and(Tensor::tracked)
    }

    /// Bytes held, in both forms.
    pub fn bytes(&self) -> usize {
        let packed: usize = self.packed.get().into_iter().flatten().map(Packed::bytes).sum();
        packed + self.tensor.as_ref().map_or(0, Tensor::bytes)
    }

    /// The matrices in the layout of the kernels.
    pub(crate) fn packed(&self) -> &[Packed] {
        self.packed.get_or_init(|| {
            let tensor = self.compute();
            let size = self.n() * self.k();
            let matrix = |e: usize| tensor.elements().slice(e * size..(e + 1) * size);
            let matrices = (0..self.num_experts()).map(matrix);
            pack_all(tensor.device(), self.precision, matrices, [self.n(), self.k()])
        })
    }

    /// The values that products use, without a tape.
    pub(crate) fn compute(&self) -> Tensor {
        match self.precision {
            Precision::F32 => self.tensor().detach(),
            Precision::Bf16 => self.tensor().to_bf16(),
        }
    }
}

fn pack_all<'a>(
    device: &Device,
    precision: Precision,
    matrices: impl Iterator<Item = Elements<'a>>,
    [n, k]: [usize; 2],
) -> Vec<Packed> {
    let pack = match precision {
        Precision::F32 => Packed::from_weight_exact,
        Precision::Bf16 => Packed::from_weight,
    };
    matrices.map(|matrix| pack(device.exec(), matrix, n, k)).collect()
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Weight({:?}, {})", self.shape, self.dtype().name())
    }
}
