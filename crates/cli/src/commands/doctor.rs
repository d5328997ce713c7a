//! `fulgurite doctor`: what this machine offers.

use std::io::Write as _;
use std::time::Instant;
use tensor::{Device, Precision, Tensor, Weight};

pub(crate) fn run(device: &Device) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "threads   {}", device.num_threads())?;
    writeln!(out, "kernels   {} (of {})", device.level(), Device::levels().join(", "))?;
    writeln!(out, "f32       {:.0} GFLOP/s in a product of 1024 x 1024 x 1024", product(device))?;
    Ok(writeln!(out, "memory    {:.1} GB/s read", bandwidth(device))?)
}

/// The best of some products.
fn product(device: &Device) -> f64 {
    let n = 1024;
    let a = Tensor::full(device, &[n, n], 0.5);
    let b = Weight::new(Tensor::full(device, &[n, n], 0.5), Precision::F32);
    let best = (0..8).map(|_| {
        let start = Instant::now();
        std::hint::black_box(a.linear(&b));
        start.elapsed().as_secs_f64()
    });
    2.0 * (n as f64).powi(3) / best.fold(f64::INFINITY, f64::min) / 1e9
}

/// The best of some products of one row with a matrix that no cache holds.
fn bandwidth(device: &Device) -> f64 {
    let (n, k) = (8192, 8192);
    let a = Tensor::full(device, &[1, k], 0.5);
    let b = Weight::new(Tensor::full(device, &[n, k], 0.5), Precision::F32);
    let best = (0..5).map(|_| {
        let start = Instant::now();
        std::hint::black_box(a.linear(&b));
        start.elapsed().as_secs_f64()
    });
    (n * k * 4) as f64 / best.fold(f64::INFINITY, f64::min) / 1e9
}
