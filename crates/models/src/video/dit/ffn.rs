//! Feed-forward parts.

use super::config::FfnConfig;
use crate::Error;
use crate::layers::linear::{Bias, Linear};
use crate::video::parameters::{self, Parameter, Visit};
use crate::weights::{Role, Source};
use tensor::{Activation, Tensor, Window};

/// The feed-forward part of a layer.
#[derive(Debug)]
pub(crate) enum Ffn {
    Gelu { up: Linear, down: Linear },
    SwiGlu { gate: Linear, up: Linear, down: Linear },
    GluConv(GluConv),
}

/// ```text
/// [a, g] = depthwise(silu(inverted x))      y = pointwise(a silu(g))      out = y + temporal(y)
/// ```
#[derive(Debug)]
pub(crate) struct GluConv {
    inverted: Linear,
    /// One filter of 3 x 3 per channel, as files have it, `[2 hidden, 1, 3, 3]`.
    depthwise: Tensor,
    /// `[2 hidden]`.
    depthwise_bias: Tensor,
    pointwise: Linear,
    temporal: Linear,
}

const PLANE: Window =
    Window { kernel: [1, 3, 3], stride: [1; 3], padding: [[0, 0], [1, 1], [1, 1]] };
const TIME: Window =
    Window { kernel: [3, 1, 1], stride: [1; 3], padding: [[1, 1], [0, 0], [0, 0]] };

impl Ffn {
    pub(crate) fn new(
        config: FfnConfig,
        d: usize,
        name: &str,
        source: &mut dyn Source,
    ) -> Result<Self, Error> {
        let part = |part: &str| format!("{name}.{part}");
        let deep = Role::Deep;
        Ok(match config {
            FfnConfig::Gelu { hidden } => Self::Gelu {
                up: Linear::new(source, &part("up"), [hidden, d], Bias::With, deep)?,
                down: Linear::new(source, &part("down"), [d, hidden], Bias::With, deep)?,
            },
            FfnConfig::SwiGlu { hidden } => Self::SwiGlu {
                gate: Linear::new(source, &part("gate"), [hidden, d], Bias::Without, deep)?,
                up: Linear::new(source, &part("up"), [hidden, d], Bias::Without, deep)?,
                down: Linear::new(source, &part("down"), [d, hidden], Bias::Without, deep)?,
            },
            FfnConfig::GluConv { hidden } => {
                let both = 2 * hidden;
                let mut conv = |name: &str, shape: &[usize], bias| {
                    Linear::conv(source, &part(name), shape, bias)
                };
                let inverted = conv("inverted", &[both, d, 1, 1], Bias::With)?;
                let pointwise = conv("pointwise", &[d, hidden, 1, 1], Bias::Without)?;
                let temporal = conv("temporal", &[d, d, 3, 1], Bias::Without)?;
                let filters = [both, 1, 3, 3];
                let depthwise =
                    source.tensor(&part("depthwise.weight"), &filters, Role::Projection)?;
                let depthwise_bias = source.tensor(&part("depthwise.bias"), &[both], Role::Bias)?;
                Self::GluConv(GluConv { inverted, depthwise, depthwise_bias, pointwise, temporal })
            }
        })
    }

    /// `[batch * frames * height * width, hidden_size]` to the same shape; what is no convolution sees
    /// rows only.
    pub(crate) fn forward(&self, x: &Tensor, batch: usize, grid: [usize; 3]) -> Tensor {
        match self {
            Self::Gelu { up, down } => down.forward(&up.forward_activated(x, Activation::GeluTanh)),
            Self::SwiGlu { gate, up, down } => {
                down.forward(&gate.forward(x).swiglu(&up.forward(x)))
            }
            Self::GluConv(conv) => conv.forward(x, batch, grid),
        }
    }

    pub(crate) fn walk(&mut self, name: &str, visit: Visit<'_>) {
        let mut linear = |linear: &mut Linear, part: &str| {
            parameters::linear(linear, &format!("{name}.{part}"), visit);
        };
        match self {
            Self::Gelu { up, down } => {
                linear(up, "up");
                linear(down, "down");
            }
            Self::SwiGlu { gate, up, down } => {
                linear(gate, "gate");
                linear(up, "up");
                linear(down, "down");
            }
            Self::GluConv(conv) => {
                linear(&mut conv.inverted, "inverted");
                linear(&mut conv.pointwise, "pointwise");
                linear(&mut conv.temporal, "temporal");
                let name = format!("{name}.depthwise");
                visit(&format!("{name}.weight"), Parameter::Tensor(&mut conv.depthwise));
                visit(&format!("{name}.bias"), Parameter::Tensor(&mut conv.depthwise_bias));
            }
        }
    }
}

impl GluConv {
    fn forward(&self, x: &Tensor, batch: usize, [frames, height, width]: [usize; 3]) -> Tensor {
        let both = self.depthwise_bias.len();
        let grid = |x: &Tensor| x.reshape(&[batch, frames, height, width, x.last_dim()]);
        let filters = self.depthwise.reshape(&[both, 9]).permute(&[1, 0]); // [taps, channels]
        let inner = grid(&self.inverted.forward(x).silu());
        let inner = inner.depthwise_conv(&filters, &PLANE).add_row(&self.depthwise_bias);
        let [a, gate] = [0..both / 2, both / 2..both].map(|half| inner.narrow(4, half));
        let y = self.pointwise.forward(&gate.swiglu(&a)); // [batch, frames, height, width, d]
        y.add_scaled(1.0, &y.conv(&self.temporal.weight, &TIME), 1.0).reshape(x.shape())
    }
}
