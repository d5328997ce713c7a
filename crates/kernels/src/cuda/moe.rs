//! Mixture of experts on the GPU: the router, and the grouping of tokens by expert. See
//! [`crate::moe`] for the formulas and for what a slot and its place are.
//!
//! At most [`MAX_EXPERTS`] experts. Memory-bound: `gather` and `combine` read and write one row per
//! slot or token. Experts are counted per block of slots, the counts are summed over the blocks
//! before, and then every block places its own slots, in order.

use super::cross_entropy::{doubles, sum_parts};
use super::{Arg, Cuda, DeviceVec};

/// Experts that a block counts in its shared memory. As in `moe.cu`, like the rest.
pub const MAX_EXPERTS: usize = 256;
const THREADS: usize = 256;
/// Slots that a block counts and places.
const SLOTS: usize = 2048;
/// Rows of a block that copies rows: one per warp.
const ROWS: usize = 8;

/// Which experts each token goes to.
#[derive(Debug)]
pub struct Routing {
    /// Experts per token.
    pub k: usize,
    /// `[tokens, k]`, by falling probability.
    pub experts: DeviceVec<u32>,
    /// `[tokens, k]`, each row sums to 1.
    pub weights: DeviceVec<f32>,
}

/// Picks the `k` best experts of each row of `logits: [tokens, num_experts]`.
///
/// # Panics
///
/// If `k` is 0 or above `num_experts`, or lengths disagree.
#[track_caller]
pub fn route(cuda: &Cuda, logits: &DeviceVec<f32>, num_experts: usize, k: usize) -> Routing {
    assert!(k > 0 && k <= num_experts, "{k} of {num_experts} experts");
    let tokens = tokens_of(logits, num_experts);
    let (mut experts, mut weights) = (cuda.output(tokens * k), cuda.output(tokens * k));
    let args = [
        logits.into(),
        (&mut experts).into(),
        (&mut weights).into(),
        tokens.into(),
        num_experts.into(),
        k.into(),
    ];
    // SAFETY: logits are [tokens, num_experts], experts and weights [tokens, k], k <= num_experts.
    unsafe { cuda.launch("moe_route", [tokens.div_ceil(THREADS), 1, 1], THREADS, &args) };
    Routing { k, experts, weights }
}

/// What `grad_weights: [tokens, k]` means for the logits, `[tokens, num_experts]`.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn route_backward(
    cuda: &Cuda,
    routing: &Routing,
    num_experts: usize,
    grad_weights: &DeviceVec<f32>,
) -> DeviceVec<f32> {
    let tokens = routing.tokens();
    assert_eq!(grad_weights.len(), routing.weights.len(), "grad_weights must be [tokens, k]");
    let mut grad_logits = cuda.output(tokens * num_experts);
    let args = [
        (&routing.experts).into(),
        (&routing.weights).into(),
        grad_weights.into(),
        (&mut grad_logits).into(),
        tokens.into(),
        num_experts.into(),
        routing.k.into(),
    ];
    let grid = [grad_logits.len().div_ceil(THREADS), 1, 1];
    // SAFETY: grad_logits are [tokens, num_experts], the rest is [tokens, k].
    unsafe { cuda.launch("moe_route_backward", grid, THREADS, &args) };
    grad_logits
}

/// The balance loss of one batch, `[1]`, and its gradient `[tokens, num_experts]`.
///
/// # Panics
///
/// If lengths disagree or there are more than [`MAX_EXPERTS`].
#[track_caller]
pub fn balance_loss(
    cuda: &Cuda,
    logits: &DeviceVec<f32>,
    num_experts: usize,
    routing: &Routing,
) -> (DeviceVec<f32>, DeviceVec<f32>) {
    let tokens = tokens_of(logits, num_experts);
    assert_eq!(routing.tokens(), tokens, "routing of other logits");
    let Counts { offsets, .. } = Counts::new(cuda, routing, num_experts);
    let blocks = tokens.div_ceil(THREADS);
    let (mut grad, mut parts) = (cuda.output(logits.len()), doubles(cuda, blocks));
    let args = [
        logits.into(),
        (&offsets).into(),
        (&mut grad).into(),
        (&mut parts).into(),
        tokens.into(),
        num_experts.into(),
    ];
    // SAFETY: logits and grad are [tokens, num_experts], offsets [num_experts + 1], parts one double
    // per block.
    unsafe { cuda.launch("moe_balance", [blocks, 1, 1], THREADS, &args) };
    (sum_parts(cuda, &parts), grad)
}

/// Slots sorted by expert.
#[derive(Debug)]
pub struct Groups {
    k: usize,
    num_experts: usize,
    /// First place of each expert, and the number of slots: `[num_experts + 1]`.
    offsets: DeviceVec<u32>,
    /// Slot at each place.
    slots: DeviceVec<u32>,
    /// Place of each slot.
    places: DeviceVec<u32>,
}

impl Groups {
    /// Sorts the slots of `routing`, among `num_experts` experts; those of one expert stay in order.
    ///
    /// # Panics
    ///
    /// If there are no experts or more than [`MAX_EXPERTS`].
    #[track_caller]
    pub fn new(cuda: &Cuda, routing: &Routing, num_experts: usize) -> Self {
        let Counts { before, offsets } = Counts::new(cuda, routing, num_experts);
        let len = routing.experts.len();
        let (mut slots, mut places) = (cuda.output(len), cuda.output(len));
        let args = [
            (&routing.experts).into(),
            (&before).into(),
            (&offsets).into(),
            (&mut slots).into(),
            (&mut places).into(),
            len.into(),
            num_experts.into(),
        ];
        // SAFETY: experts, slots and places have that many elements; places are counted, so that
        // they are below it.
        unsafe { cuda.launch("moe_place", [len.div_ceil(SLOTS), 1, 1], THREADS, &args) };
        Self { k: routing.k, num_experts, offsets, slots, places }
    }

    /// Number of slots.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Number of experts.
    pub fn num_experts(&self) -> usize {
        self.num_experts
    }

    /// First place of each expert, and the number of slots: `[num_experts + 1]`.
    pub fn offsets(&self) -> &DeviceVec<u32> {
        &self.offsets
    }

    /// A copy of each slot's token, from `x: [tokens, dim]` to the slot's place: `[slots, dim]`.
    ///
    /// # Panics
    ///
    /// If lengths disagree.
    #[track_caller]
    pub fn gather(&self, cuda: &Cuda, x: &DeviceVec<f32>, dim: usize) -> DeviceVec<f32> {
        assert_eq!(x.len() * self.k, self.len() * dim, "x must be [tokens, {dim}]");
        let mut out = cuda.output(self.len() * dim);
        let args = [
            x.into(),
            (&self.slots).into(),
            (&mut out).into(),
            self.len().into(),
            self.k.into(),
            dim.into(),
        ];
        // SAFETY: x is [tokens, dim], out [slots, dim], and slots are below tokens * k.
        unsafe { cuda.launch("moe_gather", self.grid(), THREADS, &args) };
        out
    }

    /// The sum of each token's results, from `y: [slots, dim]` by place to `[tokens, dim]`, times
    /// `weights: [tokens, k]` if given. Without weights this is also the derivative of
    /// [`gather`](Self::gather).
    ///
    /// # Panics
    ///
    /// If lengths disagree.
    #[track_caller]
    pub fn combine(
        &self,
        cuda: &Cuda,
        y: &DeviceVec<f32>,
        weights: Option<&DeviceVec<f32>>,
        dim: usize,
    ) -> DeviceVec<f32> {
        assert_eq!(y.len(), self.len() * dim, "y must be [slots, {dim}]");
        if let Some(weights) = weights {
            assert_eq!(weights.len(), self.len(), "weights must be [tokens, k]");
        }
        let tokens = self.len() / self.k;
        let mut out = cuda.output(tokens * dim);
        let args = [
            y.into(),
            (&self.places).into(),
            weights.map_or(Arg::Address(0), Arg::from),
            (&mut out).into(),
            tokens.into(),
            self.k.into(),
            dim.into(),
        ];
        // SAFETY: y is [slots, dim], out [tokens, dim], weights [tokens, k] or null, and places are
        // below the number of slots.
        unsafe { cuda.launch("moe_combine", [tokens.div_ceil(ROWS), 1, 1], THREADS, &args) };
        out
    }

    /// The derivative of [`combine`](Self::combine) with weights, for `grad: [tokens, dim]`: those
    /// of `y: [slots, dim]` and of `weights: [tokens, k]`.
    ///
    /// # Panics
    ///
    /// If lengths disagree.
    #[track_caller]
    pub fn combine_backward(
        &self,
        cuda: &Cuda,
        y: &DeviceVec<f32>,
        weights: &DeviceVec<f32>,
        dim: usize,
        grad: &DeviceVec<f32>,
    ) -> (DeviceVec<f32>, DeviceVec<f32>) {
        assert_eq!(y.len(), self.len() * dim, "y must be [slots, {dim}]");
        assert_eq!(weights.len(), self.len(), "weights must be [tokens, k]");
        assert_eq!(grad.len() * self.k, self.len() * dim, "grad must be [tokens, {dim}]");
        let (mut grad_y, mut grad_weights) = (cuda.output(y.len()), cuda.output(self.len()));
        let args = [
            y.into(),
            (&self.slots).into(),
            weights.into(),
            grad.into(),
            (&mut grad_y).into(),
            (&mut grad_weights).into(),
            self.len().into(),
            self.k.into(),
            dim.into(),
        ];
        // SAFETY: y and grad_y are [slots, dim], grad [tokens, dim], weights and grad_weights
        // [tokens, k], and slots are below tokens * k.
        unsafe { cuda.launch("moe_combine_backward", self.grid(), THREADS, &args) };
        (grad_y, grad_weights)
    }

    /// A warp for each place.
    fn grid(&self) -> [usize; 3] {
        [self.len().div_ceil(ROWS), 1, 1]
    }
}

impl Routing {
    #[track_caller]
    fn tokens(&self) -> usize {
        let (experts, weights, k) = (self.experts.len(), self.weights.len(), self.k);
        assert!(
            k > 0 && experts == weights && experts.is_multiple_of(k),
            "{experts} experts and {weights} weights must be [tokens, {k}]"
        );
        experts / k
    }
}

/// How the slots of a routing are spread.
struct Counts {
    /// Slots of each expert in the blocks before each: `[num_experts, blocks]`.
    before: DeviceVec<u32>,
    /// Slots of the experts before each: `[num_experts + 1]`.
    offsets: DeviceVec<u32>,
}

impl Counts {
    #[track_caller]
    fn new(cuda: &Cuda, routing: &Routing, num_experts: usize) -> Self {
        let slots = routing.tokens() * routing.k;
        assert!(
            num_experts > 0 && num_experts <= MAX_EXPERTS,
            "{num_experts} experts, the GPU sorts by 1 to {MAX_EXPERTS}"
        );
        let blocks = slots.div_ceil(SLOTS);
        let mut before = cuda.output(num_experts * blocks);
        let mut offsets = cuda.output(num_experts + 1);
        let args =
            [(&routing.experts).into(), (&mut before).into(), slots.into(), num_experts.into()];
        // SAFETY: there are as many slots, and before is [num_experts, blocks].
        unsafe { cuda.launch("moe_count", [blocks, 1, 1], THREADS, &args) };
        let args = [(&mut before).into(), (&mut offsets).into(), blocks.into(), num_experts.into()];
        // SAFETY: before is [num_experts, blocks], offsets [num_experts + 1]; the kernel wants 1024
        // threads.
        unsafe { cuda.launch("moe_scan", [1, 1, 1], 1024, &args) };
        Self { before, offsets }
    }
}

#[track_caller]
fn tokens_of(logits: &DeviceVec<f32>, num_experts: usize) -> usize {
    assert!(
        num_experts > 0 && logits.len().is_multiple_of(num_experts),
        "logits must be [tokens, {num_experts}]"
    );
    logits.len() / num_experts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, random};
    use crate::{Exec, Rng, moe};

    #[test]
    fn the_best_are_chosen_and_the_lowest_index_among_equals() {
        let Some(cuda) = crate::cuda::testing::cuda() else { return };
        let route = |logits: &[f32], num_experts, k| {
            let Routing { experts, weights, .. } =
                route(&cuda, &cuda.upload(logits), num_experts, k);
            (experts.to_vec(), weights.to_vec())
        };
        let (experts, weights) = route(&[0.0, 2.0, 2.0, 1.0, 5.0, 5.0, 5.0, 5.0], 4, 2);
        assert_eq!(experts, [1, 2, 0, 1]);
        assert_eq!(weights, [0.5; 4]);
        let nan = f32::NAN;
        assert_eq!(route(&[nan, 1.0, 3.0], 3, 2).0, [2, 1]);
        assert_eq!(route(&[nan; 3], 3, 3).0, [0, 1, 2]);
        assert_eq!(route(&[], 3, 1).0, []);
    }

    #[test]
    fn everything_as_on_the_cpu() {
        let Some(cuda) = crate::cuda::testing::cuda() else { return };
        let exec = Exec::new(1);
        for (tokens, num_experts, k, dim) in [
            (0, 3, 1, 4),
            (1, 1, 1, 1),
            (37, 5, 2, 3),
            (300, 4, 4, 9),
            (5001, 8, 2, 128),
            (700, 64, 6, 132),
            (257, 256, 256, 2),
            (40_000, 8, 2, 1),
        ] {
            let mut rng = Rng(tokens as u64);
            let mut draw = |n| random(&mut rng, n);
            let logits: Vec<f32> = draw(tokens * num_experts).iter().map(|x| x * 3.0).collect();
            let (x, grad) = (draw(tokens * dim), draw(tokens * dim));
            let (y, grad_weights) = (draw(tokens * k * dim), draw(tokens * k));
            let want = moe::route(&logits, num_experts, k);
            let device_logits = cuda.upload(&logits);
            let routing = route(&cuda, &device_logits, num_experts, k);
            assert_eq!(want.experts, routing.experts.to_vec());
            assert_close("weights", &want.weights, &routing.weights.to_vec(), 1e-6);

            let mut grad_logits = vec![0.0; logits.len()];
            moe::route_backward(&want, num_experts, &grad_weights, &mut grad_logits);
            let got = route_backward(&cuda, &routing, num_experts, &cuda.upload(&grad_weights));
            assert_close("route_backward", &grad_logits, &got.to_vec(), 1e-5);

            let (loss, grad_logits) = moe::balance_loss(&logits, num_experts, &want);
            let got = balance_loss(&cuda, &device_logits, num_experts, &routing);
            assert_close("balance", &[loss], &got.0.to_vec(), 1e-5);
            assert_close("balance gradient", &grad_logits, &got.1.to_vec(), 1e-5);

            let groups = Groups::new(&cuda, &routing, num_experts);
            let twin = moe::Groups::new(&want, num_experts);
            assert_eq!((groups.len(), groups.num_experts()), (tokens * k, num_experts));
            let offsets: Vec<usize> =
                groups.offsets().to_vec().iter().map(|&x| x as usize).collect();
            for e in 0..num_experts {
                assert_eq!(twin.range(e), offsets[e]..offsets[e + 1], "expert {e}");
            }

            let mut want_rows = vec![f32::NAN; tokens * k * dim];
            twin.gather(&exec, &x, dim, &mut want_rows);
            assert_eq!(want_rows, groups.gather(&cuda, &cuda.upload(&x), dim).to_vec());

            let (device_y, weights) = (cuda.upload(&y), &routing.weights);
            let mut out = vec![f32::NAN; tokens * dim];
            twin.combine(&exec, &y, Some(&want.weights), dim, &mut out);
            let got = groups.combine(&cuda, &device_y, Some(weights), dim);
            assert_close("combine", &out, &got.to_vec(), 1e-5);
            twin.combine(&exec, &y, None, dim, &mut out);
            let got = groups.combine(&cuda, &device_y, None, dim);
            assert_close("combine without weights", &out, &got.to_vec(), 1e-5);

            let (mut grad_y, mut grad_weights) = (vec![f32::NAN; y.len()], grad_weights);
            twin.combine_backward(
                &exec,
                &y,
                &want.weights,
                dim,
                &grad,
                &mut grad_y,
                &mut grad_weights,
            );
            let got = groups.combine_backward(&cuda, &device_y, weights, dim, &cuda.upload(&grad));
            assert_close("grad_y", &grad_y, &got.0.to_vec(), 1e-5);
            assert_close("grad_weights", &grad_weights, &got.1.to_vec(), 1e-5);
        }
    }

    #[test]
    fn slots_of_an_expert_stay_in_order() {
        let Some(cuda) = crate::cuda::testing::cuda() else { return };
        let (slots, num_experts) = (2 * SLOTS + 77, 5);
        let mut rng = Rng(4);
        let experts: Vec<u32> = (0..slots).map(|_| rng.below(num_experts) as u32).collect();
        let mut want: Vec<u32> = (0..slots as u32).collect();
        want.sort_by_key(|&slot| experts[slot as usize]);
        let routing = Routing { k: 1, experts: cuda.upload(&experts), weights: cuda.zeros(slots) };
        let groups = Groups::new(&cuda, &routing, num_experts);
        assert_eq!(groups.slots.to_vec(), want);
        for (slot, place) in groups.places.to_vec().into_iter().enumerate() {
            assert_eq!(want[place as usize] as usize, slot);
        }
    }
}
