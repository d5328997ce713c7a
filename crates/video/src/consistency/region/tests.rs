use super::*;

/// A thing of `rgb` on grey: `inside` says by offset from its middle, in radii, what belongs to it.
fn drawn(
    size: usize,
    (x, y, radius): (f32, f32, f32),
    rgb: [f32; 3],
    inside: impl Fn(f32, f32) -> bool,
) -> Frame {
    const FINE: usize = 8;
    let mut pixels = Vec::new();
    for i in 0..size * size {
        let mut cover = 0.0;
        for j in 0..FINE * FINE {
            let fine = |k: usize| (k as f32 + 0.5) / FINE as f32;
            let px = (i % size) as f32 + fine(j % FINE);
            let py = (i / size) as f32 + fine(j / FINE);
            if inside((px - x) / radius, (py - y) / radius) {
                cover += 1.0 / (FINE * FINE) as f32;
            }
        }
        pixels.extend(rgb.map(|v| 0.1 + (v - 0.1) * cover));
    }
    Frame { height: size, width: size, rgb: pixels }
}

fn disc(x: f32, y: f32) -> bool {
    x.hypot(y) < 1.0
}

fn square(x: f32, y: f32) -> bool {
    x.abs() < 0.88 && y.abs() < 0.88
}

const RED: [f32; 3] = [0.9, 0.1, 0.1];

#[test]
fn a_disc_is_measured() {
    let region = find(&drawn(64, (20.3, 33.7, 9.0), RED, disc)).unwrap();
    assert!((region.radius() - 9.0).abs() < 0.05, "{}", region.radius());
    assert!((region.centre[0] - 20.3).abs() < 0.05, "{:?}", region.centre);
    assert!((region.centre[1] - 33.7).abs() < 0.05, "{:?}", region.centre);
    assert!(region.whole);
    assert!((region.rgb[0] - 0.9).abs() < 0.01 && (region.rgb[1] - 0.1).abs() < 0.01);
    assert!(region.shape.iter().all(|v| v.abs() < 0.03), "{:?}", region.shape);
}

#[test]
fn a_shape_keeps_its_numbers_wherever_it_is_and_however_it_is_turned() {
    let straight = find(&drawn(64, (30.0, 30.0, 10.0), RED, square)).unwrap();
    let (sin, cos) = 0.6f32.sin_cos();
    let turned =
        drawn(64, (37.4, 22.2, 13.0), RED, |x, y| square(x * cos + y * sin, y * cos - x * sin));
    let turned = find(&turned).unwrap();
    assert!(shape_distance(&straight.shape, &turned.shape) < 0.02);
    let round = find(&drawn(64, (30.0, 30.0, 10.0), RED, disc)).unwrap();
    assert!(shape_distance(&straight.shape, &round.shape) > 0.1);
    // The fourth symmetry, third of the list, says how far it was turned.
    let turn = (turned.phases[2] - straight.phases[2]) / 4.0;
    let quarter = std::f64::consts::FRAC_PI_2;
    let off = (turn - 0.6 + quarter / 2.0).rem_euclid(quarter) - quarter / 2.0;
    assert!(off.abs() < 0.02, "{turn}");
}

#[test]
fn a_thing_on_a_checkered_background_is_found() {
    let mut frame = drawn(64, (40.0, 25.0, 8.0), [1.0; 3], disc);
    for (i, pixel) in frame.rgb.chunks_exact_mut(3).enumerate() {
        let check = if (i % 64 / 9 + i / 64 / 9).is_multiple_of(2) { 0.2 } else { 0.4 };
        let cover = (pixel[0] - 0.1) / 0.9;
        pixel.fill(check + (1.0 - check) * cover);
    }
    let region = find(&frame).unwrap();
    assert!((region.radius() - 8.0).abs() < 0.3, "{}", region.radius());
    assert!((region.centre[0] - 40.0).abs() < 0.3, "{:?}", region.centre);
}

#[test]
fn nothing_stands_out_of_plain_frames_or_tiny_ones() {
    for (height, width) in [(64, 64), (1, 1), (0, 0), (3, 64), (64, 7), (8, 8)] {
        let frame = Frame { height, width, rgb: vec![0.5; height * width * 3] };
        assert!(find(&frame).is_none(), "{height} x {width}");
    }
}

#[test]
fn hues_of_known_colours() {
    assert_eq!(hue([1.0, 0.0, 0.0]), (0.0, 1.0));
    assert_eq!(hue([0.0, 0.5, 0.0]), (120.0, 1.0));
    assert_eq!(hue([0.5, 0.5, 1.0]), (240.0, 0.5));
    assert_eq!(hue([0.3; 3]), (0.0, 0.0));
    let (degrees, _) = hue([1.0, 0.0, 0.01]);
    assert!((359.0..360.0).contains(&degrees));
}

#[test]
fn distances_of_hues() {
    let of = |rgb| find(&drawn(64, (30.0, 30.0, 9.0), rgb, disc)).unwrap().hues;
    let (red, orange, white) = (of(RED), of([0.97, 0.5, 0.06]), of([1.0; 3]));
    assert!(hue_distance(&red, &red) < 1e-9);
    assert!(hue_distance(&red, &of([0.88, 0.12, 0.1])) < 0.15);
    assert!(hue_distance(&red, &orange) > 0.6, "{}", hue_distance(&red, &orange));
    assert!(hue_distance(&red, &white) > 0.9);
}
