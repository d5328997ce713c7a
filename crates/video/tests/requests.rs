//! What requests are refused, and what is said then.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

mod support;

use models::vision::pixels::Rgb;
use support::{toy, words};
use video::{Consistency, Guidance, Pipeline, Request, Sampler, Shape};

/// Expects what `change` makes of a good request to be refused with `message`.
#[track_caller]
fn check(message: &str, change: impl FnOnce(&mut Request)) {
    let shape = toy().shape;
    let mut request = Request::new("a disc", &shape);
    request.prompt = "up disc".to_owned();
    assert!(request.check(&shape, &words()).is_ok());
    change(&mut request);
    assert_eq!(request.check(&shape, &words()).unwrap_err().to_string(), message);
}

#[test]
fn numbers_out_of_range_are_named() {
    check("`steps` is 0, expected 1 to 1000", |r| r.steps = 0);
    check("`steps` is 1001, expected 1 to 1000", |r| r.steps = 1001);
    check("`shift` is 0, expected 0.01 to 100", |r| r.shift = 0.0);
    check("`eta` is 1.5, expected 0 to 1", |r| r.sampler = Sampler::Euler { eta: 1.5 });
    check("`eta` is -0.1, expected 0 to 1", |r| r.sampler = Sampler::Euler { eta: -0.1 });
    check("`eta` is NaN, expected 0 to 1", |r| r.sampler = Sampler::Euler { eta: f64::NAN });
    check("`guidance` is -1, expected 0 to 100", |r| r.guidance.text = -1.0);
    check("`guidance` is inf, expected 0 to 100", |r| r.guidance.text = f32::INFINITY);
    check("`guidance_rescale` is 2, expected 0 to 1", |r| r.guidance.rescale = 2.0);
    check("`guidance_interval` is 0.9 to 0.1, expected levels from 0 to 1, the lower first", |r| {
        r.guidance = Guidance { interval: [0.9, 0.1], ..Guidance::NONE };
    });
    check("`image_guidance` is 2, expected 1 where there is no `subject`", |r| {
        r.guidance.image = 2.0;
    });
    check("`candidates` is 0, expected 1 to 64", |r| r.candidates = 0);
    check("`candidates` is 2, expected 1 unless `consistency` selects or repairs", |r| {
        r.candidates = 2;
    });
}

#[test]
fn frames_and_sizes_that_do_not_fit_have_neighbours() {
    let rule = "(1 more than a multiple of 4, up to 16384)";
    check(&format!("`frames` is 10, expected 9 or 13 {rule}"), |r| r.frames = 10);
    check(&format!("`frames` is 0, expected 1 {rule}"), |r| r.frames = 0);
    check(&format!("`frames` is 16384, expected 16381 {rule}"), |r| r.frames = 16384);
    check(&format!("`frames` is {}, expected 16381 {rule}", usize::MAX), |r| r.frames = usize::MAX);
    let rule = "(a multiple of 2, up to 80)";
    check(&format!("`height` is 5, expected 4 or 6 {rule}"), |r| r.size = [5, 6]);
    check(&format!("`height` is 0, expected 2 {rule}"), |r| r.size = [0, 6]);
    check(&format!("`width` is 20000, expected 80 {rule}"), |r| r.size = [4, 20_000]);
    check("`context` is 3, expected 1 to 2, less than the 3 of a block", |r| {
        (r.frames, r.context) = (13, 3);
    });
}

#[test]
fn prompts_that_say_nothing_or_too_much_are_named() {
    let empty = "`prompt` is empty, expected words that say what is to be seen";
    check(empty, |r| r.prompt = String::new());
    check(empty, |r| r.prompt = " ?! ".to_owned());
    check("`prompt` is 5 words, expected at most 4", |r| r.prompt = "up up up up up".to_owned());
    let circel =
        "the model does not know the word `circel` (the nearest that it knows is `circle`)";
    check(&format!("`prompt`: {circel}"), |r| r.prompt = "up circel".to_owned());
    check(&format!("`negative_prompt`: {circel}"), |r| r.negative_prompt = "circel".to_owned());
}

fn picture(height: usize, width: usize) -> Option<Rgb> {
    Some(Rgb::black(height, width))
}

#[test]
fn pictures_must_have_their_size() {
    check("`first_frame` is 4 x 4 pixels, expected 6 x 4", |r| r.first_frame = picture(4, 4));
    check("`last_frame` is 1 x 1 pixels, expected 6 x 4", |r| r.last_frame = picture(1, 1));
    check("`subject` is 6 x 4 pixels, expected 2 x 2", |r| r.subject = picture(4, 6));
    check("`frames` is 1, expected 5 or more, so that there are some between those given", |r| {
        (r.frames, r.last_frame) = (1, picture(4, 6));
    });
    check("`frames` is 5, expected 9 or more, so that there are some between those given", |r| {
        (r.frames, r.first_frame, r.last_frame) = (5, picture(4, 6), picture(4, 6));
    });
}

/// A model without an autoencoder has any number of frames.
#[test]
fn frames_of_a_model_of_pixels_are_any() {
    let shape = Shape { time: 1, channels: 3, ..toy().shape };
    for frames in [1, 2, 9, 10] {
        let request = Request { frames, ..Request::new("circle", &shape) };
        assert!(request.check(&shape, &words()).is_ok());
    }
}

#[test]
fn what_does_not_fit_in_memory_is_refused() {
    let (model, words) = (toy(), words());
    let request = Request {
        candidates: 4,
        consistency: Consistency::Select,
        ..Request::new("circle", &model.shape)
    };
    let checked = request.check(&model.shape, &words).unwrap();
    let of = |free_bytes| Pipeline { model: &model, words: &words, free_bytes }.plan(&checked);
    let all = of(None).unwrap();
    assert_eq!(all.at_once, 4);
    let fewer = of(Some(all.beside_weights() - 1)).unwrap();
    assert!(fewer.at_once < 4 && fewer.beside_weights() < all.beside_weights());
    // What is free and what is asked for are told in one unit, both without the weights.
    let one = video::plan::Memory::of(&model, &checked, 1).beside_weights();
    assert!(one < all.beside_weights() && one > 100_000, "{one}");
    let message = of(Some(50_000)).unwrap_err().to_string();
    let needs = format!("the clip needs {:.1} MB beside the weights", one as f64 / 1e6);
    let end = "and 0.1 MB are free: expected a smaller size, fewer frames or fewer candidates";
    assert!(message.starts_with(&needs) && message.ends_with(end), "{message}");
}
