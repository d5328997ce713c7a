//! `fulgurite doctor`: what this machine offers.

use std::io::Write as _;
use std::time::Instant;
use tensor::peak::Limit;
use tensor::{Cuda, Device, Precision, Tensor, Weight};

pub(crate) fn run(device: &Device) -> anyhow::Result<()> {
    let limits = [Limit::F32.per_second(device.exec()), Limit::Bf16.per_second(device.exec())];
    let products = [Precision::F32, Precision::Bf16].map(|weights| product(device, weights));
    let memory = Limit::Memory.per_second(device.exec()) / 1e9;
    let mut out = std::io::stdout().lock();
    writeln!(out, "threads   {}", device.num_threads())?;
    writeln!(out, "kernels   {} (of {})", device.level(), Device::levels().join(", "))?;
    for (name, (limit, product)) in ["f32 ", "bf16"].iter().zip(limits.iter().zip(products)) {
        let (limit, product, share) = (limit / 1e9, product / 1e9, 100.0 * product / limit);
        writeln!(out, "{name}      {limit:.0} GFLOP/s in registers")?;
        writeln!(out, "product   {product:.0} GFLOP/s ({share:.0} %), 1024 x 1024 x 1024")?;
    }
    writeln!(out, "memory    {memory:.1} GB/s read")?;
    let gpu =
        Device::gpu(1, 0).map(|gpu| format!("{}, for training", gpu.cuda().map_or("", Cuda::name)));
    Ok(writeln!(out, "gpu       {}", gpu.unwrap_or_else(|reason| format!("none: {reason}")))?)
}

/// Flops per second of the best of some products with weights in some precision.
fn product(device: &Device, weights: Precision) -> f64 {
    let n = 1024;
    let a = Tensor::full(device, &[n, n], 0.5);
    let b = Weight::new(Tensor::full(device, &[n, n], 0.5), weights);
    let best = (0..8).map(|_| {
        let start = Instant::now();
        std::hint::black_box(a.linear(&b));
        start.elapsed().as_secs_f64()
    });
    2.0 * (n as f64).powi(3) / best.fold(f64::INFINITY, f64::min)
}
