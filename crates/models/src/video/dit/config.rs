//! What a video transformer is made of.

use tensor::Pairing;

/// The shape of a transformer and the kinds of its layers.
#[derive(Clone, Debug, PartialEq)]
pub struct DitConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Channels of latents.
    pub in_channels: usize,
    /// Channels of what is predicted.
    pub out_channels: usize,
    /// Latent frames, rows and columns that are one token.
    pub patch_size: [usize; 3],
    /// Features of a time's sines and cosines.
    pub frequencies: usize,
    /// Whether the strength of guidance is an input, as with distilled models.
    pub guidance: bool,
    /// The prompt.
    pub text: TextConfig,
    /// Rows of an image encoder that stand before the prompt's.
    pub image: Option<ImageConfig>,
    /// Positions.
    pub rope: RopeConfig,
    /// Whether sines and cosines of their places are added to the rows of latents.
    pub places: bool,
    /// The layers.
    pub layers: Vec<LayerConfig>,
    /// Kinds of rows that have modulations of their own: 1, 2 for video and text, or 3 for video,
    /// reference and text.
    pub modalities: usize,
    /// Positions in time, between the prompt's and the clip's, that are a reference's; 0 if the model
    /// has none. They are kept free where no reference is given.
    pub reference_frames: usize,
    /// Epsilon of the layers' norms.
    pub norm_eps: f64,
    /// Epsilon of the last norm.
    pub out_norm_eps: f64,
}

/// How the prompt comes in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextConfig {
    /// Features of a row of the text encoder.
    pub dim: usize,
    /// Epsilon of a norm after the projection, if there is one.
    pub norm_eps: Option<f64>,
    /// Where its rows go.
    pub placement: TextPlacement,
    /// Whether the mean of its rows is added to the time's vector.
    pub pooled: bool,
}

/// Where the prompt's rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextPlacement {
    /// Beside the video's: layers read them by cross-attention.
    Cross,
    /// Before the video's, in one sequence.
    Packed,
}

/// Rows of an image encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageConfig {
    /// Features of a row.
    pub dim: usize,
    /// Rows of two images together, if they have positions of their own.
    pub positions: Option<usize>,
}

/// Rotation by position along time, height and width.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeConfig {
    /// Features of a head that are turned, all even.
    pub dims: [usize; 3],
    /// Base of the frequencies.
    pub theta: f64,
    /// Which features are turned together.
    pub pairing: Pairing,
    /// Positions from a row of latents to the next, along each axis.
    pub spacing: [f64; 3],
    /// Rows along an axis, at most.
    pub max_positions: usize,
}

/// One layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerConfig {
    /// Attention of the sequence to itself.
    pub attention: AttentionConfig,
    /// Attention to the prompt.
    pub cross: Option<CrossConfig>,
    /// Whether the norm before the feed-forward part has a weight and a bias.
    pub ffn_norm_affine: bool,
    /// The feed-forward part.
    pub ffn: FfnConfig,
}

/// Attention of a sequence to itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionConfig {
    /// Number of heads.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// What is summed up how.
    pub mixer: Mixer,
    /// Norm of queries and keys.
    pub qk_norm: QkNorm,
    /// Whether q, k and v have a bias; the output always has one.
    pub bias: bool,
    /// Whether the output is normed per head and multiplied with the sigmoid of a projection.
    pub gated: bool,
}

/// Kinds of attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mixer {
    /// One sum over all rows, with ReLU as kernel; the weights are of rotated, the normalizer of
    /// unrotated queries and keys.
    Linear {
        /// Added to the normalizer.
        eps: f64,
    },
    /// Softmax over all rows.
    Softmax,
    /// Softmax within blocks of frames that do not overlap.
    Window {
        /// Frames of patches per block.
        frames: usize,
    },
}

/// Norms of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum QkNorm {
    /// None.
    None,
    /// RMSNorm of all heads together.
    RmsAcrossHeads(f64),
    /// RMSNorm of each head, all with the same weight.
    RmsPerHead(f64),
    /// LayerNorm of all heads together.
    LayerAcrossHeads(f64),
    /// Length 1 of all heads together.
    L2AcrossHeads(f64),
}

/// Attention to the prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossConfig {
    /// Number of heads.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Norm of queries and keys.
    pub qk_norm: QkNorm,
    /// Whether its input is normed, with a weight and a bias.
    pub norm: bool,
    /// Rows at the end that are the prompt's where those of an image, before them, have keys and
    /// values of their own.
    pub text_rows: Option<usize>,
}

/// Feed-forward parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FfnConfig {
    /// `down gelu(up x)`, GELU by the hyperbolic tangent, with biases.
    Gelu {
        /// Inner width.
        hidden: usize,
    },
    /// `down (silu(gate x) * up x)`, without biases.
    SwiGlu {
        /// Inner width.
        hidden: usize,
    },
    /// Convolutions within a frame, gated, then one over time (arXiv:2509.24695).
    GluConv {
        /// Inner width.
        hidden: usize,
    },
}

impl DitConfig {
    /// # Panics
    ///
    /// If parts of it cannot go together: a mistake of ours, since published layouts cannot say it.
    #[track_caller]
    pub(super) fn check(&self) {
        let packed = self.text.placement == TextPlacement::Packed;
        assert!((1..=3).contains(&self.modalities), "{} modalities", self.modalities);
        assert!(
            packed || self.reference_frames == 0,
            "a reference beside a prompt that is not packed"
        );
        assert!(self.rope.dims.iter().all(|dim| dim % 2 == 0), "rotated dims {:?}", self.rope.dims);
        for layer in &self.layers {
            let grid = matches!(layer.ffn, FfnConfig::GluConv { .. })
                || matches!(layer.attention.mixer, Mixer::Window { .. });
            assert!(
                !(packed && grid),
                "a prompt within the sequence has no place in a grid: {layer:?}"
            );
            let turned = self.rope.dims.iter().sum::<usize>();
            assert!(turned <= layer.attention.head_dim, "{turned} features rotated in {layer:?}");
        }
    }

    /// Frames, height and width of the grid of tokens of latents of a size; what is left over beyond
    /// the last whole patch is not seen.
    pub fn grid(&self, size: [usize; 3]) -> [usize; 3] {
        [0, 1, 2].map(|axis| size[axis] / self.patch_size[axis])
    }
}
