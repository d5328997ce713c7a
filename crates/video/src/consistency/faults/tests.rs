use super::super::testing::{BLUE, Thing, brighten, clip, moving};
use super::*;
use media::Clip;

fn flags(clip: &Clip) -> Vec<(usize, Fault)> {
    let scores = Scores::of(&Track::of(clip));
    scores.flags(&Thresholds::default()).iter().map(|f| (f.frame, f.fault)).collect()
}

fn check(things: &[Thing], expected: &[(usize, Fault)]) {
    assert_eq!(flags(&clip(things)), expected);
}

#[test]
fn a_steady_clip_has_no_flags() {
    for frames in 0..12 {
        check(&moving(frames, 2.7), &[]);
        check(&moving(frames, 0.0), &[]);
    }
}

#[test]
fn a_bouncing_ball_has_no_flags() {
    let mut things = moving(9, 0.0);
    for (i, thing) in things.iter_mut().enumerate() {
        let share = (0.23 * i as f32 + 0.3).fract();
        thing.y = 50.0 - 22.0 * 4.0 * share * (1.0 - share);
    }
    check(&things, &[]);
}

#[test]
fn what_grows_has_no_flags() {
    let mut things = moving(9, 0.0);
    things.iter_mut().enumerate().for_each(|(i, t)| (t.x, t.radius) = (32.0, 8.0 + i as f32));
    check(&things, &[]);
}

#[test]
fn flashes_and_dark_frames() {
    for frame in 0..9 {
        let mut flashed = clip(&moving(9, 2.7));
        brighten(&mut flashed, frame, 1.3, 0.1);
        assert_eq!(flags(&flashed), [(frame, Fault::Flash)]);
        let mut darkened = clip(&moving(9, 2.7));
        brighten(&mut darkened, frame, 0.7, 0.0);
        assert_eq!(flags(&darkened), [(frame, Fault::Dark)]);
    }
}

#[test]
fn dark_frames_at_equal_distances() {
    for (frames, period) in [(9, 2), (9, 3), (9, 4), (17, 4), (17, 8), (65, 17)] {
        let mut dark = clip(&moving(frames, 20.0 / frames as f32));
        let hit: Vec<usize> = (period - 1..frames).step_by(period).collect();
        hit.iter().for_each(|&i| brighten(&mut dark, i, 0.7, 0.0));
        let expected: Vec<_> = hit.into_iter().map(|i| (i, Fault::Periodic)).collect();
        let mut found = flags(&dark);
        // What is at one of the frames is said of each, be it as dark or as one of many.
        found.iter_mut().filter(|f| f.1 == Fault::Dark).for_each(|f| f.1 = Fault::Periodic);
        assert_eq!(found, expected, "every {period} of {frames}");
    }
}

#[test]
fn another_hue_for_one_frame_or_for_good() {
    let mut things = moving(9, 2.0);
    things[4].rgb = BLUE;
    check(&things, &[(4, Fault::Hue)]);
    things[5..].iter_mut().for_each(|t| t.rgb = BLUE);
    check(&things, &[(4, Fault::Hue)]);
}

#[test]
fn another_shape_for_one_frame_or_for_good() {
    let mut things = moving(9, 2.0);
    things[4].square = true;
    check(&things, &[(4, Fault::Shape)]);
    things[5..].iter_mut().for_each(|t| t.square = true);
    check(&things, &[(4, Fault::Shape)]);
}

#[test]
fn a_missing_frame_and_a_jump() {
    let mut things = moving(10, 2.0);
    things.remove(5);
    check(&things, &[(5, Fault::Jump)]);
    let mut things = moving(9, 2.0);
    things[6..].iter_mut().for_each(|t| t.y += 8.0);
    check(&things, &[(6, Fault::Jump)]);
}

#[test]
fn copies_of_frames_that_should_move() {
    let mut things = moving(9, 2.0);
    things.insert(4, things[3]);
    check(&things, &[(4, Fault::Freeze)]);
    let mut things = moving(9, 2.0);
    (6..9).for_each(|i| things[i] = things[5]);
    check(&things, &[(6, Fault::Freeze), (7, Fault::Freeze), (8, Fault::Freeze)]);
}

#[test]
fn a_copy_of_a_frame_at_rest_cannot_be_seen() {
    let mut things = moving(9, 0.0);
    things.insert(4, things[3]);
    check(&things, &[]);
}

#[test]
fn a_thing_that_is_gone() {
    let mut things = moving(9, 2.0);
    things[3].radius = 0.0;
    assert!(flags(&clip(&things)).contains(&(3, Fault::Shape)));
}

#[test]
fn saturation_that_fades() {
    let mut things = moving(9, 2.0);
    for (i, thing) in things.iter_mut().enumerate() {
        let fade = i as f32 / 16.0;
        thing.rgb = thing.rgb.map(|v| v + (0.5 - v) * fade);
    }
    check(&things, &[(8, Fault::Drift)]);
}

#[test]
fn a_cut_where_nothing_stands_out() {
    // Stripes over the whole frame, one half of the clip across and one along.
    let mut rgb = Vec::new();
    for i in 0..8 {
        for p in 0..32 * 32 {
            let along = if i < 5 { p % 32 + i } else { p / 32 + i };
            rgb.extend([[30u8, 200, 60], [220, 40, 90], [90, 90, 250]][along / 3 % 3]);
        }
    }
    let clip = Clip { frames: 8, height: 32, width: 32, rate: 6.0, rgb };
    assert!(!Track::of(&clip).is_tracked());
    let scores = Scores::of(&Track::of(&clip));
    let jump = scores.fault(Fault::Jump);
    assert!((0..8).all(|i| jump[i] <= jump[5]), "{jump:?}");
}

#[test]
fn the_names_are_those_of_the_json() {
    for fault in Fault::ALL {
        assert_eq!(serde_json::to_value(fault).unwrap(), fault.name());
        assert!(Fault::ALL[fault as usize] == fault);
    }
}
