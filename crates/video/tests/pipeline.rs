//! Clips of a model whose predictions are known: see [`support`].
#![expect(clippy::unwrap_used, reason = "a test may stop")]

mod support;

use models::vision::pixels::Rgb;
use std::ops::ControlFlow;
use support::{DEVIATION, Toy, WORD, toy, words};
use video::{Error, Guidance, Outcome, Pipeline, Request, Sampler};

fn request(prompt: &str) -> Request {
    let guidance = Guidance::NONE;
    Request { guidance, steps: 8, seed: 3, context: 1, ..Request::new(prompt, &toy().shape) }
}

#[track_caller]
fn generate(model: &Toy, request: &Request) -> Outcome {
    let words = words();
    let pipeline = Pipeline { model, words: &words, free_bytes: None };
    pipeline.generate(request, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// Values of pixels from -1 to 1.
fn values(rgb: &[u8]) -> Vec<f64> {
    rgb.iter().map(|v| f64::from(*v) / 127.5 - 1.0).collect()
}

fn mean(rgb: &[u8]) -> f64 {
    let values = values(rgb);
    values.iter().sum::<f64>() / values.len() as f64
}

fn gray(height: usize, width: usize, value: u8) -> Rgb {
    Rgb { height, width, data: vec![value; height * width * 3] }
}

/// Four deviations of the mean of `n` values.
fn tolerance(n: usize) -> f64 {
    4.0 * DEVIATION / (n as f64).sqrt() + 0.004
}

#[test]
fn a_clip_is_what_the_prompt_says() {
    for sampler in [Sampler::ODE, Sampler::Euler { eta: 0.5 }, Sampler::DpmSolver] {
        for (prompt, expected) in [("up circle", WORD), ("down disc", -WORD), ("circle", 0.0)] {
            let outcome = generate(&toy(), &Request { sampler, ..request(prompt) });
            let clip = &outcome.clip;
            assert_eq!((clip.frames, clip.height, clip.width, clip.rate), (9, 4, 6, 6.0));
            let error = (mean(&clip.rgb) - f64::from(expected)).abs();
            assert!(error < tolerance(clip.rgb.len()), "{sampler:?} {prompt}: {error}");
            assert_eq!((outcome.evaluations, &outcome.seeds[..]), (8, &[3][..]));
        }
    }
}

#[test]
fn a_seed_decides_the_clip() {
    let one = generate(&toy(), &request("up"));
    assert_eq!(one, generate(&toy(), &request("up")));
    assert_ne!(one.clip, generate(&toy(), &Request { seed: 4, ..request("up") }).clip);
    let sampler = Sampler::Euler { eta: 1.0 };
    assert_ne!(one.clip, generate(&toy(), &Request { sampler, ..request("up") }).clip);
}

#[test]
fn guidance_goes_beyond_the_prompt() {
    let check = |guidance: Guidance, negative: &str, expected: f32, evaluations: usize| {
        let negative_prompt = negative.to_owned();
        let outcome = generate(&toy(), &Request { guidance, negative_prompt, ..request("up") });
        let error = (mean(&outcome.clip.rgb) - f64::from(expected)).abs();
        assert!(error < 2.0 * tolerance(outcome.clip.rgb.len()), "{guidance:?}: {error}");
        assert_eq!(outcome.evaluations, evaluations);
    };
    let text = |text| Guidance { text, ..Guidance::NONE };
    // Two words' difference counts twice; the velocity is linear in the mean.
    check(text(2.0), "", 2.0 * WORD, 16);
    check(text(2.0), "down", 3.0 * WORD, 16);
    check(text(0.0), "down", -WORD, 8);
    check(Guidance { interval: [2.0 / 3.0, 1.0], ..text(1.0) }, "", WORD, 8);
}

#[test]
fn a_subject_is_told_and_weighed() {
    let check = |guidance: Guidance, expected: f64, evaluations: usize, with: usize| {
        let model = toy();
        let subject = Some(gray(2, 2, 153)); // 0.2
        let outcome = generate(&model, &Request { guidance, subject, ..request("up") });
        let error = (mean(&outcome.clip.rgb) - expected).abs();
        assert!(error < 2.0 * tolerance(outcome.clip.rgb.len()), "{guidance:?}: {error}");
        assert_eq!(outcome.evaluations, evaluations);
        let calls = model.calls.lock().unwrap();
        let with_subject = calls.iter().filter(|call| call.with_subject);
        assert_eq!(with_subject.map(|call| call.samples).sum::<usize>(), with);
    };
    let word = f64::from(WORD);
    check(Guidance::NONE, word + 0.2, 8, 8);
    check(Guidance { image: 2.0, ..Guidance::NONE }, word + 0.4, 24, 16);
    check(Guidance { text: 2.0, ..Guidance::NONE }, 2.0 * word + 0.2, 16, 16);
    check(Guidance { text: 1.5, image: 0.0, ..Guidance::NONE }, 1.5 * word, 24, 16);
}

/// Given frames come back as they are, and what is between them goes with them.
#[test]
fn frames_that_are_given_stay() {
    let (first, last) = (gray(4, 6, 200), gray(4, 6, 220));
    let samplers = [Sampler::ODE, Sampler::Euler { eta: 1.0 }, Sampler::SdeDpmSolver];
    for sampler in samplers {
        for (first_frame, last_frame) in
            [(Some(&first), None), (None, Some(&last)), (Some(&first), Some(&last))]
        {
            let model = toy();
            let [first_frame, last_frame] = [first_frame, last_frame].map(|f| f.cloned());
            let request = Request {
                first_frame: first_frame.clone(),
                last_frame: last_frame.clone(),
                sampler,
                ..request("down")
            };
            let clip = generate(&model, &request).clip;
            let expected = match (&first_frame, &last_frame) {
                (Some(_), Some(_)) => 210.0,
                (Some(_), None) => 200.0,
                _ => 220.0,
            };
            if first_frame.is_some() {
                assert_eq!(clip.frame(0), first.data);
            }
            if last_frame.is_some() {
                assert!((5..9).all(|i| clip.frame(i) == last.data));
            }
            let between = mean(&clip.rgb[4 * 6 * 3..5 * 4 * 6 * 3]);
            let error = (between - (expected / 127.5 - 1.0)).abs();
            assert!(error < tolerance(4 * 4 * 6 * 3), "{sampler:?} {error}");
            // Rows that are given are told to be clean at every step.
            for call in model.calls.lock().unwrap().iter() {
                for (row, level) in call.levels.iter().enumerate() {
                    let given = match row / 6 {
                        0 => first_frame.is_some(),
                        1 => false,
                        _ => last_frame.is_some(),
                    };
                    assert_eq!(*level == 0.0, given);
                }
            }
        }
    }
}

#[test]
fn a_long_clip_goes_on_and_takes_no_more_at_once() {
    for context in [1, 2] {
        for frames in [13, 17, 29, 41] {
            let model = toy();
            let request = Request { frames, context, ..request("up") };
            let outcome = generate(&model, &request);
            assert_eq!(outcome.clip.frames, frames);
            assert_eq!(outcome.clip.rgb.len(), frames * 4 * 6 * 3);
            let calls = model.calls.lock().unwrap();
            assert!(calls.iter().all(|call| call.frames == 3 && call.samples == 1));
            // Of 8 steps each; a block has `3 - context` new latent frames of 4 frames.
            let blocks = 1 + ((frames - 9) / 4).div_ceil(3 - context);
            assert_eq!((calls.len(), outcome.seeds.len()), (8 * blocks, blocks));
            // What is given to a block decides its mean, so no block forgets the prompt.
            let last = mean(outcome.clip.frame(frames - 1));
            assert!((last - f64::from(WORD)).abs() < 0.2, "{last}");
        }
    }
}

/// The beginning of a longer clip is the shorter one, and blocks have their own noise.
#[test]
fn blocks_do_not_depend_on_what_comes_after_them() {
    let long = generate(&toy(), &Request { frames: 25, ..request("up") }).clip;
    let short = generate(&toy(), &Request { frames: 17, ..request("up") }).clip;
    assert_eq!(long.rgb[..short.rgb.len()], short.rgb[..]);
    let mut frames: Vec<&[u8]> = (0..25).map(|i| long.frame(i)).collect();
    frames.sort_unstable();
    frames.dedup();
    assert_eq!(frames.len(), 25);
}

#[test]
fn the_last_frame_of_a_long_clip_is_given_to_its_last_block() {
    let last = gray(4, 6, 30);
    for frames in [13, 17, 21, 25] {
        let request = Request { frames, last_frame: Some(last.clone()), ..request("up") };
        let clip = generate(&toy(), &request).clip;
        assert_eq!(clip.frames, frames);
        assert!((frames - 4..frames).all(|i| clip.frame(i) == last.data), "{frames}");
        assert_ne!(clip.frame(frames - 5), last.data);
    }
}

#[test]
fn a_watch_ends_the_work() {
    let (model, words) = (toy(), words());
    let pipeline = Pipeline { model: &model, words: &words, free_bytes: None };
    let mut fractions = Vec::new();
    let frames = 17;
    let result = pipeline.generate(&Request { frames, ..request("up") }, &mut |progress| {
        fractions.push(progress.fraction());
        let end = progress.part.block == 1 && progress.step == 2;
        if end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(result, Err(Error::Cancelled)));
    assert_eq!(model.calls.lock().unwrap().len(), 10);
    assert_eq!(fractions.len(), 10);
    assert_eq!((fractions[0], fractions[7], fractions[9]), (1.0 / 16.0, 0.5, 0.625));
}

/// What would be seen if sampling ended now is at last what is seen.
#[test]
fn the_last_preview_is_the_clip() {
    let (model, words) = (toy(), words());
    let pipeline = Pipeline { model: &model, words: &words, free_bytes: None };
    let mut previews = Vec::new();
    let request = request("up");
    let outcome = pipeline.generate(&request, &mut |progress| {
        previews.push(progress.preview());
        ControlFlow::Continue(())
    });
    assert_eq!(previews.len(), 8);
    assert!(previews[0] != previews[7]);
    assert_eq!(previews[7], outcome.unwrap().clip);
}

#[test]
fn predictions_that_are_no_numbers_end_the_work() {
    let model = Toy { offset: f32::NAN, ..toy() };
    let words = words();
    let pipeline = Pipeline { model: &model, words: &words, free_bytes: None };
    let error = pipeline.generate(&request("up"), &mut |_| ControlFlow::Continue(()));
    let message = "step 1 of 8: the model's prediction has values that are not finite";
    assert_eq!(error.unwrap_err().to_string(), message);
}
