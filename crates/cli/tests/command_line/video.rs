//! `fulgurite video` with a model of pixels whose weights are by chance.

use super::fulgurite;
use media::clip::{self, Limits};
use models::video::NanoVideo;
use models::video::nano::config::NanoConfig;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tensor::{Device, Precision, Rng, Tensor, safetensors};
use text::words::Words;

/// A folder with a model of 16 x 24 pixels and five frames.
pub(super) struct Folder(pub(super) tempfile::TempDir);

pub(super) fn folder() -> Folder {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({
        "model_type": "fulgurite_video", "prediction": "velocity",
        "height": 16, "width": 24, "frames": 5, "frame_rate": 6, "reference_size": 8,
        "vae": null,
        "text": {
            "vocab_size": 4, "max_words": 5, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 24,
        },
        "transformer": {
            "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 40,
            "layer_types": ["linear_attention", "full_attention"], "gated_attention": true,
            "pooled_text": true, "patch_size": [1, 8, 8], "rope_axes_dim": [4, 2, 2],
            "rope_theta": 100.0, "max_position_embeddings": 4096,
        },
    });
    let path = folder.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    let device = Device::cpu(1);
    let config = NanoConfig::from_json(config.to_string().as_bytes(), &path).unwrap();
    let mut model = NanoVideo::to_train(config, None, &device, Precision::F32, 3).unwrap();
    let mut rng = Rng(8);
    model.for_each_parameter(&mut |_, tensor| {
        let noise = Tensor::normal(&device, tensor.shape(), 0.2, &mut rng);
        *tensor = tensor.detach().add_scaled(1.0, &noise, 1.0).into_parameter();
    });
    let weights = folder.path().join("model.safetensors");
    safetensors::save(&weights, model.saved(Precision::Bf16), &Default::default()).unwrap();
    let words = Words::new(["a", "red", "circle"], &[]).unwrap();
    std::fs::write(folder.path().join("words.json"), words.to_json()).unwrap();
    Folder(folder)
}

impl Folder {
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.0.path().display())
    }

    /// A red circle in four steps.
    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let model = self.0.path().display().to_string();
        let words = ["video", "a red circle", "--model", &model, "--steps", "4"];
        words.iter().chain(more).map(|word| (*word).to_owned()).collect()
    }

    fn run(&self, more: &[&str]) -> Output {
        fulgurite(&self.arguments(more).iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Expects success; what is on stdout.
    #[track_caller]
    fn succeeds(&self, more: &[&str]) -> String {
        let output = self.run(more);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Expects a failure, nothing on stdout and no clip.
    #[track_caller]
    fn fails(&self, more: &[&str], code: i32, words: &[&str]) {
        let path = self.path("out.mp4");
        let output = ["-o", &path];
        let arguments = self.arguments(&[&output[..], more].concat());
        super::fails(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), code, words);
        assert!(!Path::new(&path).exists());
    }

    /// All files but those of the model.
    fn others(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let own = ["config.json", "words.json", "model.safetensors"];
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| !own.iter().any(|name| path.ends_with(name))).collect()
    }
}

#[test]
fn a_clip_is_written_in_any_format() {
    let folder = folder();
    let mut clips = Vec::new();
    for name in ["a.mp4", "a.gif", "a.y4m", "frames/"] {
        let path = folder.path(name);
        assert_eq!(folder.succeeds(&["-o", &path, "--seed", "5"]), format!("{path}\n"));
        let read = clip::read(Path::new(&path), &Limits::default()).unwrap();
        assert_eq!((read.clip.frames, read.clip.height, read.clip.width), (5, 16, 24), "{name}");
        clips.push(read.clip);
    }
    // PNG frames are exact, and a seed gives them again with any number of threads.
    let path = folder.path("again/");
    folder.succeeds(&["-o", &path, "--seed", "5", "--threads", "1"]);
    let again = clip::read(Path::new(&path), &Limits::default()).unwrap().clip;
    assert_eq!(again.rgb, clips[3].rgb);
    folder.succeeds(&["-o", &path, "--seed", "6"]);
    let other = clip::read(Path::new(&path), &Limits::default()).unwrap().clip;
    assert_ne!(other.rgb, again.rgb);
}

#[test]
fn the_report_is_told_as_json() {
    let folder = folder();
    let path = folder.path("out.gif");
    let more = ["-o", &path, "--json", "--frames", "9", "--eta", "0.5", "--guidance", "2"];
    let value: Value = serde_json::from_str(&folder.succeeds(&more)).unwrap();
    for (field, expected) in [
        ("output", json!(path)),
        ("prompt", json!("a red circle")),
        ("seed", json!(0)),
        ("steps", json!(4)),
        ("sampler", json!("euler")),
        ("eta", json!(0.5)),
        ("guidance", json!(2.0)),
        ("consistency", json!("report")),
        ("frames", json!(9)),
        ("width", json!(24)),
        ("height", json!(16)),
        ("rate", json!(6.0)),
        // Blocks of five frames of which two are given.
        ("seeds", json!([0, 0, 0])),
        ("evaluations", json!(3 * 4 * 2)),
    ] {
        assert_eq!(value[field], expected, "{field}");
    }
    let frames = value["report"]["frames"].as_array().unwrap();
    assert_eq!(frames.len(), 9);
    assert!(frames.iter().all(|frame| frame["severity"].is_number()));
    let off = folder.succeeds(&["-o", &path, "--json", "--consistency", "off"]);
    assert_eq!(serde_json::from_str::<Value>(&off).unwrap()["report"], Value::Null);
}

#[test]
fn the_best_of_several_is_chosen() {
    let folder = folder();
    let path = folder.path("best/");
    let output = folder.succeeds(&["-o", &path, "--json", "--candidates", "3", "--seed", "10"]);
    let value: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(value["consistency"], "select");
    let candidates = value["candidate_scores"].as_array().unwrap();
    let seeds: Vec<_> = candidates.iter().map(|c| c["seed"].as_u64().unwrap()).collect();
    assert_eq!(seeds, [10, 11, 12]);
    let chosen: Vec<_> = candidates.iter().filter(|c| c["chosen"] == true).collect();
    let [chosen] = chosen[..] else { panic!("{value}") };
    assert_eq!(value["seeds"][0], chosen["seed"]);
    let badness = |c: &Value| c["badness"].as_f64().unwrap();
    assert!(candidates.iter().all(|c| badness(c) >= badness(chosen)));
    // It is the clip of its seed.
    let alone = folder.path("alone/");
    let seed = chosen["seed"].to_string();
    folder.succeeds(&["-o", &alone, "--seed", &seed, "--consistency", "repair"]);
    folder.succeeds(&["-o", &alone, "--seed", &seed]);
    let read = |path: &str| clip::read(Path::new(path), &Limits::default()).unwrap().clip.rgb;
    assert_eq!(read(&path), read(&alone));
}

#[test]
fn values_that_cannot_be_are_refused() {
    let folder = folder();
    let expect = |more: &[&str], words: &str| folder.fails(more, 2, &[words]);
    expect(&["--frames", "0"], "--frames is 0, expected 1 (1 to 16384)");
    expect(&["--size", "20x16"], "--size: width is 20, expected 16 or 24 (a multiple of 8, up to ");
    expect(&["--size", "16"], "expected width and height such as 64x64");
    expect(&["--eta", "1.5"], "--eta is 1.5, expected 0 to 1");
    expect(&["--eta", "-0.5"], "--eta is -0.5, expected 0 to 1");
    expect(&["--eta", "0.5", "--sampler", "dpm"], "--eta 0.5 goes with --sampler euler only");
    expect(&["--guidance", "-1"], "--guidance is -1, expected 0 to 100");
    expect(
        &["--image-guidance", "2"],
        "--image-guidance is 2, expected 1 where there is no `subject`",
    );
    expect(&["--candidates", "2", "--consistency", "off"], "--candidates is 2, expected 1 unless");
    expect(
        &["--negative-prompt", "blue"],
        "`negative_prompt`: the model does not know the word `blue`",
    );
    expect(&["--consistency", "best"], "[possible values: off, report, select, repair]");
    let model = folder.0.path().display().to_string();
    let steps = ["video", "a", "--model", &model, "--steps", "0"];
    super::fails(&steps, 2, &["--steps is 0, expected 1 to 1000"]);
    assert!(folder.others().is_empty());
}

#[test]
fn words_that_the_model_does_not_know_are_named() {
    let folder = folder();
    let model = folder.0.path().display().to_string();
    let expect = |prompt: &str, words: &str| {
        super::fails(&["video", prompt, "--model", &model], 2, &[words]);
    };
    let near = "`prompt`: the model does not know the word `circel` (the nearest that it knows is `circle`)";
    expect("a red circel", near);
    expect("", "prompt is empty, expected words that say what is to be seen");
    expect("a a a a a a", "prompt is 6 words, expected at most 5");
}

#[test]
fn places_that_cannot_be_written_are_refused_at_once() {
    let folder = folder();
    let model = folder.0.path().display().to_string();
    let expect = |path: &str, words: &str| {
        super::fails(&["video", "a", "--model", &model, "-o", path], 2, &[words]);
    };
    expect("clip.avi", "--output: `clip.avi` has an ending of no format, expected `.mp4`");
    expect(&folder.path("none/clip.mp4"), "--output: there is no folder `");
}

#[test]
fn av1_is_for_mp4_and_in_builds_that_have_it() {
    let folder = folder();
    let model = folder.0.path().display().to_string();
    let (gif, mp4) = (folder.path("clip.gif"), folder.path("clip.mp4"));
    let to = |path| ["video", "a", "--model", &model, "--codec", "av1", "-o", path];
    let words = "--codec av1 is for MP4, expected --output with the ending `.mp4`";
    super::fails(&to(&gif), 2, &[words]);
    if cfg!(feature = "av1") {
        super::succeeds(&to(&mp4));
        let bytes = std::fs::read(&mp4).unwrap();
        assert!(bytes.windows(4).any(|word| word == b"av1C"));
    } else {
        super::fails(&to(&mp4), 2, &["--codec av1 is not in this build, expected one"]);
        assert!(!Path::new(&mp4).exists());
    }
}

#[test]
fn a_clip_that_does_not_fit_is_refused() {
    let more = ["--frames", "16384", "--size", "32768x32768"];
    folder().fails(&more, 4, &["the clip needs ", " beside the weights ", " are free: expected "]);
}

/// Before it is made, not when it is to be written.
#[test]
fn a_clip_that_its_file_would_not_hold_is_refused() {
    let folder = folder();
    let words = "--output: a clip of 12001 frames is too long for an MP4, expected at most 10000";
    folder.fails(&["--frames", "12001"], 2, &[words]);
}

#[test]
fn models_that_are_none_are_named() {
    let folder = folder();
    std::fs::write(folder.path("words.json"), "[]").unwrap();
    folder.fails(&[], 3, &["words.json`: not a valid list of words: "]);
    std::fs::remove_file(folder.path("words.json")).unwrap();
    folder.fails(&[], 1, &["cannot read `", "words.json`"]);
    let folder = self::folder();
    std::fs::write(folder.path("config.json"), "{}").unwrap();
    folder.fails(&[], 3, &["config.json`"]);
}

/// A picture of one colour.
fn picture(path: &str, height: u32, width: u32) {
    let rgb = vec![200; (height * width * 3) as usize];
    let clip =
        media::Clip { frames: 1, height: height as usize, width: width as usize, rate: 1.0, rgb };
    clip::write(Path::new(path), &clip, &clip::Options { scale: Some(1), about: "" }).unwrap();
}

#[test]
fn pictures_are_made_to_fit_and_it_is_said() {
    let folder = folder();
    picture(&folder.path("exact.gif"), 16, 24);
    picture(&folder.path("square.gif"), 40, 40);
    picture(&folder.path("dot.gif"), 1, 1);
    let (exact, square, dot) =
        (folder.path("exact.gif"), folder.path("square.gif"), folder.path("dot.gif"));
    let path = folder.path("out/");
    let output = folder.run(&["-o", &path, "--first-frame", &exact, "--last-frame", &square]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    assert!(!told.contains("exact.gif"));
    let expected = "square.gif` has 40 x 40 pixels: the middle of it was resized to 24 x 16";
    assert!(told.contains(expected), "{told}");
    // A model of pixels has given frames as they are.
    let clip = clip::read(Path::new(&path), &Limits::default()).unwrap().clip;
    assert!(clip.frame(0).iter().chain(clip.frame(4)).all(|v| v.abs_diff(200) <= 1));
    let output = folder.run(&["-o", &path, "--subject", &dot, "--image-guidance", "1.5"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && told.contains("it was resized to 8 x 8"), "{told}");

    std::fs::write(folder.path("broken.png"), b"\x89PNG\r\n\x1a\nno").unwrap();
    folder.fails(&["--subject", &folder.path("broken.png")], 1, &["broken.png`", "damaged"]);
    folder.fails(&["--first-frame", &folder.path("none.png")], 1, &["cannot read `", "none.png`"]);
    folder.fails(&["--last-frame", &folder.path("words.json")], 1, &["is no picture"]);
}

#[test]
fn the_name_is_of_the_prompt_and_nothing_is_overwritten() {
    let folder = folder();
    let run = || {
        let arguments = folder.arguments(&["--seed", "7"]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_fulgurite"));
        let output = command.args(arguments).current_dir(folder.0.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(), "a-red-circle-7.mp4\n");
    let first = std::fs::read(folder.path("a-red-circle-7.mp4")).unwrap();
    assert_eq!(run(), "a-red-circle-7-2.mp4\n");
    assert_eq!(std::fs::read(folder.path("a-red-circle-7.mp4")).unwrap(), first);
}

#[test]
fn flags_are_variables_too() {
    let folder = folder();
    let model = folder.0.path().display().to_string();
    let path = folder.path("out.gif");
    let mut command = Command::new(env!("CARGO_BIN_EXE_fulgurite"));
    command.args(["video", "a", "--json"]).env("FULGURITE_VIDEO_MODEL", &model);
    command.envs([
        ("FULGURITE_OUTPUT", &path[..]),
        ("FULGURITE_STEPS", "2"),
        ("FULGURITE_SEED", "9"),
    ]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&value["steps"], &value["seed"], &value["output"]),
        (&json!(2), &json!(9), &json!(path))
    );
}

/// An interrupt ends the work: nothing is written.
#[cfg(unix)]
#[test]
fn an_interrupt_leaves_nothing() {
    let folder = folder();
    let path = folder.path("out.mp4");
    let model = folder.0.path().display().to_string();
    let arguments =
        ["video", "a", "--model", &model, "--steps", "1000", "--frames", "4000", "-o", &path];
    // On a busy machine it may take long until the program can be asked.
    let codes = [1, 4, 16].map(std::time::Duration::from_secs).into_iter().map(|wait| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fulgurite"));
        let child = command.args(arguments).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(wait);
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        child.wait_with_output().unwrap().status.code()
    });
    assert_eq!(codes.into_iter().flatten().next(), Some(130));
    assert!(folder.others().is_empty());
}
