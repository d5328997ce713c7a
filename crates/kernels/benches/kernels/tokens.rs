//! What is done per token: embedding, rotation, loss, router, and handing out tasks.

use crate::harness::Work::{Bytes, Flops, Overhead};
use crate::harness::{Harness, floats};
use kernels::Rng;
use kernels::cross_entropy::{cross_entropy, cross_entropy_backward};
use kernels::embedding::{embedding, embedding_backward};
use kernels::half::f32_to_bf16;
use kernels::matmul::Elements;
use kernels::moe::{Groups, balance_loss, route, route_backward};
use kernels::rope::{Direction, Rope, rope};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

pub(crate) fn all(harness: &Harness) {
    embeddings(harness, 32_000, 1024, 4096);
    embeddings(harness, 257, 509, 1000);
    for (tokens, heads, head_dim, rotary_dim) in
        [(1, 64, 128, 64), (4096, 16, 64, 64), (999, 3, 50, 30)]
    {
        rotation(harness, tokens, Rope { heads, head_dim, rotary_dim, theta: 1e4 });
    }
    losses(harness, 1024, 1024, 256);
    losses(harness, 300, 5003, 127);
    router(harness, 4096, 32, 2, 512);
    router(harness, 1, 32, 2, 6144);
    harness.bench("threads/run/64_empty_tasks", Overhead, |exec| {
        move || {
            exec.threads.run(64, |i| {
                black_box(i);
            });
        }
    });
    for num_busy in 0..=2 {
        beside(harness, num_busy);
    }
    harness.bench_plain("rng/normal/65536", Overhead, || {
        let (mut rng, mut out) = (Rng(1), vec![0.0; 1 << 16]);
        move || out.iter_mut().for_each(|x| *x = rng.normal())
    });
}

/// A kernel of 8 tasks of some microseconds beside threads that want the same cores: it must not
/// become slower than their share of the cores explains.
fn beside(harness: &Harness, num_busy: usize) {
    harness.bench(&format!("threads/run/8_tasks_beside_{num_busy}"), Overhead, |exec| {
        let busy = Busy::new(num_busy);
        move || {
            black_box(&busy);
            exec.threads.run(8, |_| chain());
        }
    });
}

/// About 2 microseconds of dependent operations.
fn chain() {
    let mut x = black_box(1.0f64);
    for _ in 0..1000 {
        x = x * 0.5 + 1.0;
    }
    black_box(x);
}

/// Threads that compute until this is dropped.
struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    fn new(num_threads: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..num_threads).map(|_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    chain();
                }
            })
        });
        Self { threads: threads.collect(), stop }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// `n` ids below `vocab`, the same in every run.
fn ids(n: usize, vocab: usize) -> Vec<u32> {
    let mut rng = Rng(n as u64);
    (0..n).map(|_| rng.below(vocab) as u32).collect()
}

fn embeddings(harness: &Harness, vocab: usize, hidden: usize, tokens: usize) {
    let n = tokens * hidden;
    let shape = format!("{tokens}_of_{vocab}x{hidden}");
    harness.bench(&format!("embedding/f32/{shape}"), Bytes(8 * n), |exec| {
        let (table, ids) = (floats(vocab * hidden), ids(tokens, vocab));
        let mut out = vec![0.0; n];
        move || embedding(&exec, Elements::F32(&table), hidden, &ids, &mut out)
    });
    harness.bench(&format!("embedding/bf16/{shape}"), Bytes(6 * n), |exec| {
        let table: Vec<u16> = floats(vocab * hidden).into_iter().map(f32_to_bf16).collect();
        let (ids, mut out) = (ids(tokens, vocab), vec![0.0; n]);
        move || embedding(&exec, Elements::Bf16(&table), hidden, &ids, &mut out)
    });
    harness.bench_plain(&format!("embedding/backward/{shape}"), Bytes(12 * n), || {
        let (grad, ids, mut table) = (floats(n), ids(tokens, vocab), vec![0.0; vocab * hidden]);
        move || embedding_backward(&ids, hidden, &grad, &mut table)
    });
}

fn rotation(harness: &Harness, tokens: usize, shape: Rope) {
    let Rope { heads, head_dim, rotary_dim, .. } = shape;
    let name = format!("rope/{tokens}x{heads}x{head_dim}_{rotary_dim}");
    harness.bench(&name, Bytes(8 * tokens * heads * rotary_dim), |exec| {
        let positions: Vec<usize> = (0..tokens).collect();
        let mut x = floats(tokens * heads * head_dim);
        move || rope(&exec, &shape, &positions, &mut x, Direction::Forward)
    });
}

fn losses(harness: &Harness, rows: usize, vocab: usize, dim: usize) {
    let shape = format!("{rows}x{vocab}x{dim}");
    let flops = 2 * rows * vocab * dim;
    harness.bench(&format!("cross_entropy/forward/{shape}"), Flops(flops), |exec| {
        let (x, head, targets) = (floats(rows * dim), floats(vocab * dim), ids(rows, vocab));
        let (mut losses, mut lse, mut best) = (vec![0.0; rows], vec![0.0; rows], vec![0; rows]);
        move || cross_entropy(&exec, &x, &head, dim, &targets, &mut losses, &mut lse, &mut best)
    });
    harness.bench(&format!("cross_entropy/backward/{shape}"), Flops(3 * flops), |exec| {
        let (x, head, targets) = (floats(rows * dim), floats(vocab * dim), ids(rows, vocab));
        // Larger than any logit, so that nothing overflows.
        let (lse, weights) = (vec![dim as f32; rows], vec![1.0; rows]);
        let (mut gx, mut gh) = (vec![0.0; rows * dim], vec![0.0; vocab * dim]);
        move || {
            let grads = (&mut gx, &mut gh);
            cross_entropy_backward(
                &exec, &x, &head, dim, &targets, &lse, &weights, grads.0, grads.1,
            );
        }
    });
}

/// The router of `tokens` tokens, and the moving of their rows of `dim` to the experts and back.
fn router(harness: &Harness, tokens: usize, experts: usize, k: usize, dim: usize) {
    let shape = format!("{tokens}x{experts}_{k}");
    let (logits, slots) = (floats(tokens * experts), tokens * k);
    let routing = route(&logits, experts, k);
    let groups = Groups::new(&routing, experts);
    harness.bench_plain(&format!("moe/route/{shape}"), Bytes(4 * tokens * experts), || {
        || {
            black_box(route(black_box(&logits), experts, k));
        }
    });
    harness.bench_plain(
        &format!("moe/route_backward/{shape}"),
        Bytes(4 * tokens * experts),
        || {
            let (grad, mut out) = (floats(slots), vec![0.0; tokens * experts]);
            let routing = &routing;
            move || route_backward(routing, experts, &grad, &mut out)
        },
    );
    harness.bench_plain(&format!("moe/balance_loss/{shape}"), Bytes(8 * tokens * experts), || {
        || {
            black_box(balance_loss(black_box(&logits), experts, &routing));
        }
    });
    harness.bench_plain(&format!("moe/groups/{shape}"), Bytes(12 * slots), || {
        || {
            black_box(Groups::new(black_box(&routing), experts));
        }
    });
    let rows = format!("{slots}x{dim}");
    harness.bench(&format!("moe/gather/{rows}"), Bytes(8 * slots * dim), |exec| {
        let (x, mut out) = (floats(tokens * dim), vec![0.0; slots * dim]);
        let groups = &groups;
        move || groups.gather(&exec, &x, dim, &mut out)
    });
    harness.bench(&format!("moe/combine/{rows}"), Bytes(4 * (slots + tokens) * dim), |exec| {
        let (y, mut out) = (floats(slots * dim), vec![0.0; tokens * dim]);
        let (groups, weights) = (&groups, &routing.weights);
        move || groups.combine(&exec, &y, Some(weights), dim, &mut out)
    });
    let bytes = 4 * (2 * slots + tokens) * dim;
    harness.bench(&format!("moe/combine_backward/{rows}"), Bytes(bytes), |exec| {
        let (y, grad) = (floats(slots * dim), floats(tokens * dim));
        let (mut gy, mut gw) = (vec![0.0; slots * dim], vec![0.0; slots]);
        let (groups, weights) = (&groups, &routing.weights);
        move || groups.combine_backward(&exec, &y, weights, dim, &grad, &mut gy, &mut gw)
    });
}
