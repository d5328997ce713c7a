//! Selecting and repairing, by a judge who says what it is told to.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

mod support;

use media::Clip;
use models::vision::pixels::Rgb;
use std::ops::ControlFlow;
use std::sync::Mutex;
use support::{Toy, toy, words};
use video::consistency::repair::Photometric;
use video::consistency::report::Repair;
use video::consistency::{self, Fault, Flag, Options, Report, Verdict};
use video::denoise::{Canvas, Conditions, Course, Part, Run};
use video::noise::{Place, Use, of_clip};
use video::{
    Consistency, Denoiser as _, Error, Guidance, Judge, Outcome, Pipeline, Request, Sampler,
};

/// Finds wrong what the test says.
#[derive(Debug, Default)]
struct Said {
    /// How bad candidates are midway, in their order.
    early: Mutex<Vec<f64>>,
    /// Frames that are wrong in the clips that are checked, in their order; after the last, none is.
    wrong: Mutex<Vec<Vec<usize>>>,
    /// Whether what is made again is taken, in order.
    accepts: Mutex<Vec<bool>>,
    /// Frames that were said to be made again.
    again: Mutex<Vec<Vec<usize>>>,
    /// Clips that were checked.
    seen: Mutex<Vec<Clip>>,
    photometric: bool,
}

fn next<T>(list: &Mutex<Vec<T>>) -> Option<T> {
    let mut list = list.lock().unwrap();
    if list.is_empty() { None } else { Some(list.remove(0)) }
}

impl Judge for Said {
    fn check(&self, clip: &Clip) -> Verdict {
        self.seen.lock().unwrap().push(clip.clone());
        let mut verdict = Verdict::of(clip, &Options::default());
        verdict.severity.fill(0.0);
        verdict.flags.clear();
        for frame in next(&self.wrong).unwrap_or_default() {
            verdict.severity[frame] = 2.0;
            verdict.flags.push(Flag { frame, fault: Fault::Hue, score: 2.0, threshold: 1.0 });
        }
        verdict
    }

    fn report(&self, clip: &Clip) -> Report {
        consistency::check(clip, &Options::default())
    }

    fn early(&self, clean: &[f32], shape: [usize; 4], preview: &Clip) -> f64 {
        assert_eq!(clean.len(), shape.iter().product::<usize>());
        assert_eq!((preview.frames, shape[1]), (9, 3));
        next(&self.early).unwrap()
    }

    fn accepts(&self, _: &Verdict, _: &Verdict, frames: &[usize]) -> bool {
        self.again.lock().unwrap().push(frames.to_vec());
        next(&self.accepts).unwrap()
    }

    fn photometric(&self, clip: &mut Clip, frame: usize, _: &[usize]) -> Option<Photometric> {
        let len = clip.rgb.len() / clip.frames;
        clip.rgb[frame * len..(frame + 1) * len].fill(7);
        let change = Photometric { frame, gain: [1.0; 3], offset: [0.0; 3], postprocess: true };
        self.photometric.then_some(change)
    }
}

fn request(consistency: Consistency) -> Request {
    let shape = &toy().shape;
    let base = Request {
        guidance: Guidance::NONE,
        steps: 8,
        seed: 3,
        context: 1,
        ..Request::new("up", shape)
    };
    Request { consistency, ..base }
}

fn generate(model: &Toy, request: &Request, judge: &Said) -> Result<Outcome, Error> {
    let words = words();
    let pipeline = Pipeline { model, words: &words, free_bytes: None };
    pipeline.generate_by(request, judge, &mut |_| ControlFlow::Continue(()))
}

#[test]
fn the_best_candidate_is_finished() {
    let select = Request { candidates: 3, ..request(Consistency::Select) };
    let judge = Said { early: vec![0.5, 0.25, 0.75].into(), ..Said::default() };
    let model = toy();
    let outcome = generate(&model, &select, &judge).unwrap();
    let alone = Request { seed: 4, ..request(Consistency::Off) };
    let alone = generate(&toy(), &alone, &Said::default()).unwrap();
    assert_eq!((outcome.clip, &outcome.seeds[..]), (alone.clip, &[4][..]));
    let told: Vec<_> = outcome.candidates.iter().map(|c| (c.seed, c.badness, c.chosen)).collect();
    assert_eq!(told, [(3, 0.5, false), (4, 0.25, true), (5, 0.75, false)]);
    // Levels of 8 steps with shift 3 come to 0.5 after six.
    assert_eq!(outcome.evaluations, 3 * 6 + 2);
    assert_eq!(model.calls.lock().unwrap().len(), 8);
}

#[test]
fn what_cannot_be_judged_is_not_chosen() {
    let select = Request { candidates: 2, ..request(Consistency::Select) };
    let judge = Said { early: vec![f64::NAN, 9.0].into(), ..Said::default() };
    assert_eq!(generate(&toy(), &select, &judge).unwrap().seeds, [4]);
}

fn repairs(outcome: &Outcome) -> &[Repair] {
    &outcome.report.as_ref().unwrap().repairs
}

#[test]
fn wrong_frames_are_made_again() {
    let plain = generate(&toy(), &request(Consistency::Off), &Said::default()).unwrap();
    assert_eq!(plain.report, None);
    let plain = plain.clip;
    let model = toy();
    let judge = Said { wrong: vec![vec![7]].into(), accepts: vec![true].into(), ..Said::default() };
    let outcome = generate(&model, &request(Consistency::Repair), &judge).unwrap();
    // Of frame 7 the latent frame is the last; the one before it is made again too, and the first stays.
    let again: Vec<usize> = (1..9).collect();
    let expected = Repair {
        frames: again.clone(),
        level: 0.45,
        before: 2.0,
        after: 0.0,
        accepted: true,
        evaluations: 4,
    };
    assert_eq!(repairs(&outcome), [expected]);
    assert_eq!(outcome.evaluations, 8 + 4);
    assert_eq!(outcome.clip.frame(0), plain.frame(0));
    assert!(again.iter().all(|i| outcome.clip.frame(*i) != plain.frame(*i)));
    let calls = model.calls.lock().unwrap();
    for call in &calls[8..] {
        assert!(call.levels[..6].iter().all(|s| *s == 0.0));
        assert!(call.levels[6..].iter().all(|s| *s > 0.0 && *s <= 0.45));
    }
    assert_eq!(calls[8].levels[17], 0.45);
}

/// What is made again goes on from what it was: noise is added to it, and what is given has none.
#[test]
fn a_repair_begins_with_what_there_is() {
    let model = toy();
    let text = model.encode_prompts(&[vec![1]]);
    let conditions = Conditions {
        prompt: text.clone(),
        negative: text,
        subject: None,
        guidance: Guidance::NONE,
    };
    let course = Course {
        sampler: Sampler::ODE,
        sigmas: vec![0.45, 0.0],
        uses: [Use::Repair, Use::RepairStep],
        part: Part { block: 0, blocks: 1, repair: 1 },
        step_offset: 77,
    };
    let mut canvas = Canvas::free([12, 2, 2, 2], 3);
    canvas.given.iter_mut().enumerate().for_each(|(i, x)| *x = i as f32 / 10.0);
    let clean = canvas.given.clone();
    canvas.keep_but(&[1]);
    let run = Run::new(&model, &conditions, &course, [(5, canvas)]);
    let place = Place { seed: 5, of: Use::Repair, step: 77, frame: 3 };
    let noise = of_clip(place, [12, 2, 4]);
    for (i, x) in run.samples()[0].latents().iter().enumerate() {
        let s = if i / 4 % 2 == 1 { 0.45 } else { 0.0 };
        let expected = (1.0 - s) * clean[i] + s * noise[i];
        assert!((x - expected).abs() < 1e-6, "{i}: {x} {expected}");
        assert!(s > 0.0 || *x == clean[i]);
    }
}

#[test]
fn what_gets_no_better_stays() {
    let plain = generate(&toy(), &request(Consistency::Off), &Said::default()).unwrap().clip;
    let wrong = vec![vec![0], vec![0], vec![0, 1]].into();
    let judge = Said { wrong, accepts: vec![false, false].into(), ..Said::default() };
    let outcome = generate(&toy(), &request(Consistency::Repair), &judge).unwrap();
    assert_eq!(outcome.clip, plain);
    let told: Vec<_> = repairs(&outcome).iter().map(|r| (r.level, r.accepted)).collect();
    assert_eq!(told, [(0.45, false), (0.7, false)]);
    assert_eq!(outcome.evaluations, 8 + 4 + 6);
    // Each round has its own noise.
    let seen = judge.seen.lock().unwrap();
    assert!(seen[1] != seen[2]);
    assert!(outcome.report.unwrap().postprocessed.is_empty());
}

#[test]
fn pixels_are_mended_last_and_it_is_said() {
    for accepted in [true, false] {
        let wrong = vec![vec![4], vec![4], vec![4]].into();
        let accepts = vec![false, false, accepted].into();
        let judge = Said { wrong, accepts, photometric: true, ..Said::default() };
        let outcome = generate(&toy(), &request(Consistency::Repair), &judge).unwrap();
        let frames: Vec<_> =
            outcome.report.unwrap().postprocessed.iter().map(|change| change.frame).collect();
        assert_eq!(frames, if accepted { vec![4] } else { vec![] });
        assert_eq!(outcome.clip.frame(4).iter().all(|v| *v == 7), accepted);
    }
}

/// Nobody makes a frame again that was given.
#[test]
fn given_frames_are_never_made_again() {
    let first_frame = Some(Rgb { height: 4, width: 6, data: vec![200; 72] });
    let request = Request { first_frame, ..request(Consistency::Repair) };
    let wrong = vec![vec![0, 3], vec![0]].into();
    let judge = Said { wrong, accepts: vec![true].into(), ..Said::default() };
    let outcome = generate(&toy(), &request, &judge).unwrap();
    assert_eq!(repairs(&outcome).len(), 1);
    assert_eq!(repairs(&outcome)[0].frames, (1..9).collect::<Vec<_>>());
    assert!(outcome.clip.frame(0).iter().all(|v| *v == 200));
}

/// In a block after the first, frames are counted in the clip, and those given by the block before stay.
#[test]
fn later_blocks_are_repaired_as_they_are_made() {
    let request = Request { frames: 17, ..request(Consistency::Repair) };
    let wrong = vec![vec![], vec![0, 1]].into();
    let judge = Said { wrong, accepts: vec![true].into(), ..Said::default() };
    let outcome = generate(&toy(), &request, &judge).unwrap();
    assert_eq!(outcome.clip.frames, 17);
    // The second block begins with frame 8, which is given; its frames 1 to 8 are 9 to 16.
    assert_eq!(repairs(&outcome)[0].frames, (9..17).collect::<Vec<_>>());
    let seen = judge.seen.lock().unwrap();
    assert_eq!(outcome.clip.frame(8), seen[0].frame(8));
    assert_eq!(outcome.clip.frame(9), seen[2].frame(1));
}

/// The same with chance in every step, and a seed decides it all.
#[test]
fn repairs_are_decided_by_the_seed() {
    let sampler = Sampler::Euler { eta: 1.0 };
    let run = |seed| {
        let wrong = vec![vec![1], vec![1]].into();
        let judge = Said { wrong, accepts: vec![true, true].into(), ..Said::default() };
        let request = Request { sampler, seed, ..request(Consistency::Repair) };
        generate(&toy(), &request, &judge).unwrap()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).clip, run(2).clip);
}
