//! Pictures on their way into a language model: pixels against Pillow's (`fixtures/towers/pixels`), the
//! released layout of MiniMax-VL-01 (`fixtures/towers/image-vl`), and rows in a text.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

use models::vision::minimax_vl_01::{self, ImageEncoder};
use models::vision::pixels::Rgb;
use models::vision::processor::ImageProcessor;
use models::weights::{Policy, Random};
use models::{Batch, Cache, CausalLm, Inserted, MiniMaxText01, expand};
use std::path::{Path, PathBuf};
use tensor::{Checkpoint, Device, KvType, Precision, Tensor};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/towers").join(name)
}

fn processor(text: &str) -> Result<ImageProcessor, String> {
    let path = Path::new("preprocessor_config.json");
    ImageProcessor::from_json(text.as_bytes(), path).map_err(|error| error.to_string())
}

/// Every byte is Pillow's, so differences are those of rounding to f32.
#[test]
fn tiles_are_those_of_the_reference() {
    let file = Checkpoint::open(&fixture("pixels/expected.safetensors")).unwrap();
    let bytes = |name: &str| -> Vec<u8> {
        file.load_ids(name).unwrap().into_iter().map(|byte| byte as u8).collect()
    };
    let device = Device::cpu(1);
    let processor = processor(r#"{"size": {"height": 28, "width": 28}}"#).unwrap();
    let names: Vec<&str> = file.names().filter_map(|name| name.strip_prefix("picture.")).collect();
    assert!(names.len() >= 3, "fixtures are missing");
    for name in names {
        let full = format!("picture.{name}");
        let &[height, width, 3] = file.shape(&full).unwrap() else { panic!("{full}") };
        let picture = Rgb { height, width, data: bytes(&full) };
        let (tiles, plan) = processor.tiles(&device, &picture);
        let full = format!("tiles.{name}");
        assert_eq!(file.shape(&full).unwrap(), [plan.num_tiles(), 28, 28, 3], "{name}");
        let want = bytes(&full);
        for (i, got) in tiles.data().iter().enumerate() {
            // `[tiles, 3, 28, 28]` here, channels innermost there.
            let (tile, channel, pixel) = (i / 2352, i / 784 % 3, i % 784);
            let byte = f64::from(want[tile * 2352 + pixel * 3 + channel]) / 255.0;
            let value = (byte - processor.image_mean[channel]) / processor.image_std[channel];
            assert!((f64::from(*got) - value).abs() < 1e-6, "{name}: element {i} is {got}");
        }
    }
}

#[test]
fn a_processor_is_as_its_file_says() {
    assert_eq!(processor("{}").unwrap(), ImageProcessor::published());
    let released = r#"{
        "process_image_mode": "anyres", "patch_size": 14, "resample": 3, "do_resize": true,
        "size": {"shortest_edge": 336}, "rescale_factor": 0.00392156862745098,
        "image_mean": [0.48145466, 0.4578275, 0.40821073]
    }"#;
    assert_eq!(processor(released).unwrap(), ImageProcessor::published());
    let other = processor(r#"{"size": 28, "image_grid_pinpoints": [[28, 56], [56, 28]]}"#).unwrap();
    assert_eq!((other.tiling.tile_size, other.tiling.tile_features), (28, 2));
    assert_eq!(other.tiling.grid_pinpoints, [[28, 56], [56, 28]]);
    let one = processor(r#"{"process_image_mode": "pad", "size": 28}"#).unwrap();
    for made in [ImageProcessor::published(), other, ImageProcessor::plain(one.tiling)] {
        assert_eq!(processor(&made.to_json()).unwrap(), made);
    }
    for (text, expected) in [
        (
            r#"{"process_image_mode": "resize"}"#,
            "`process_image_mode` is \"resize\", expected one of \"anyres\", \"pad\"",
        ),
        (r#"{"resample": 2}"#, "`resample` is 2, expected 3 (bicubic)"),
        (r#"{"do_normalize": false}"#, "`do_normalize` is false, expected true"),
        (r#"{"image_std": [0, 1, 1]}"#, "`image_std` is [0,1,1], expected three numbers"),
        (r#"{"size": {"height": 28, "width": 56}}"#, "`size.width` is 56, expected the same as"),
        (r#"{"patch_size": 17}"#, "`patch_size` is 17, expected a divisor of the tiles' size"),
        (r#"{"image_grid_pinpoints": []}"#, "`image_grid_pinpoints` is [], expected a list"),
    ] {
        let error = processor(text).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

/// As LLaVA does it: bands of the mean colour, which becomes 0 but for rounding to bytes.
#[test]
fn a_picture_that_is_not_cut_is_fitted_into_one_tile() {
    let text = r#"{"process_image_mode": "pad", "size": 8, "patch_size": 4, "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5]}"#;
    let picture = Rgb::plain(10, 40, [255; 3]);
    let (tiles, plan) = processor(text).unwrap().tiles(&Device::cpu(1), &picture);
    assert_eq!((tiles.shape(), plan.num_tokens()), (&[1, 3, 8, 8][..], 4));
    for (i, value) in tiles.data().iter().enumerate() {
        let is_picture = (3..5).contains(&(i / 8 % 8));
        let want = if is_picture { 1.0 } else { 128.0 / 127.5 - 1.0 };
        assert!((value - want).abs() < 1e-6, "element {i} is {value}");
    }
}

/// A red square on white, wherever it stands, is the same picture but for its margin.
#[test]
fn what_is_plain_around_a_picture_is_cut_off() {
    let text = r#"{"process_image_mode": "pad", "size": 12, "patch_size": 4, "trim": true}"#;
    let processor = processor(text).unwrap();
    let tile = |at: [usize; 2]| {
        let mut picture = Rgb::plain(60, 80, [255; 3]);
        picture.paste(&Rgb::plain(20, 20, [255, 0, 0]), at);
        processor.tiles(&Device::cpu(1), &picture).0.to_vec()
    };
    assert_eq!(tile([5, 10]), tile([33, 51]));
    assert_eq!(tile([5, 10])[6 * 12 + 6], ((1.0 - 0.481_454_66) / 0.268_629_54) as f32);
}

fn load(device: &Device) -> (ImageEncoder, MiniMaxText01) {
    let folder = fixture("image-vl");
    let path = folder.join("config.json");
    let configs = minimax_vl_01::configs(&std::fs::read(&path).unwrap(), &path).unwrap();
    let checkpoint = Checkpoint::open(&folder).unwrap();
    minimax_vl_01::load(configs, &checkpoint, device, Some(Policy::F32)).unwrap()
}

fn logits(model: &MiniMaxText01, batch: Batch) -> Vec<f32> {
    let mut cache = Cache::new(model.config(), KvType::F32);
    model.logits(&batch, &mut [&mut cache]).to_vec()
}

/// The released layout is read whole, and a picture changes what is said of the text after it.
#[test]
fn a_picture_is_read_as_tokens() {
    let device = Device::cpu(2);
    let (images, language) = load(&device);
    let placeholder = images.config().image_token_index.unwrap();
    let tiling = images.config().tiling();
    let processor = ImageProcessor { tiling, ..ImageProcessor::published() };
    let answer = |color: [u8; 3]| {
        let picture = Rgb { height: 40, width: 100, data: color.repeat(4000) };
        let (tiles, plan) = processor.tiles(&device, &picture);
        let rows = images.picture(&tiles, &plan);
        assert_eq!(rows.shape(), [plan.num_tokens(), 16]);
        let (ids, tokens) =
            expand(&[1, placeholder, 2], placeholder, &[plan.num_tokens()]).unwrap();
        let batch = Batch::single(&ids, 0, &[ids.len() - 1]);
        logits(&language, batch.with(Inserted { tokens, rows }))
    };
    let (red, blue) = (answer([255, 0, 0]), answer([0, 0, 255]));
    let apart = red.iter().zip(&blue).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart > 1e-3, "{apart}");
    assert_eq!(red, answer([255, 0, 0]));
}

/// Rows that are the embeddings of tokens read as those tokens do, whatever ids they stand for.
#[test]
fn embeddings_inserted_read_as_text() {
    let device = Device::cpu(2);
    let (_, mut language) = load(&device);
    let ids = [3, 7, 11, 2, 30, 5];
    let mut table = None;
    // Of a model that can still be looked at.
    let mut random = Random::new(&device, Precision::F32, 2, 1);
    let config = language.config().clone();
    language = MiniMaxText01::new(config, &mut random).unwrap();
    language.for_each_parameter(&mut |name, tensor| {
        if name == "model.embed_tokens.weight" {
            table = Some(tensor.detach());
        }
    });
    let all: Vec<usize> = (0..ids.len()).collect();
    let text = logits(&language, Batch::single(&ids, 0, &all));
    let rows: Tensor = table.unwrap().embed(&[11, 5].into());
    let hidden = Batch::single(&[3, 7, 0, 2, 30, 0], 0, &all);
    let inserted = logits(&language, hidden.with(Inserted { tokens: [2, 5].into(), rows }));
    assert_eq!(text, inserted);
}

/// One tensor too few and one too many, in each part.
#[test]
fn a_checkpoint_of_another_model_is_refused() {
    let device = Device::cpu(1);
    let folder = fixture("image-vl");
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let try_with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        let configs = minimax_vl_01::configs(text.replace(from, to).as_bytes(), &path);
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let loaded = configs.and_then(|c| minimax_vl_01::load(c, &checkpoint, &device, None));
        loaded.map(|_| ()).unwrap_err().to_string()
    };
    let error = try_with("\"num_local_experts\": 2", "\"num_local_experts\": 3");
    assert!(
        error.contains("language_model.model.layers.0.block_sparse_moe.gate.weight"),
        "{error}"
    );
    let error = try_with("\"attn_type_list\": [\n   0,", "\"attn_type_list\": [\n   1,");
    assert!(error.contains("lacks") && error.contains("self_attn.q_proj.weight"), "{error}");
    let error = try_with("\"image_token_index\": 37", "\"image_token_index\": 40");
    assert!(error.contains("`image_token_index` is 40, expected below"), "{error}");
    let error = try_with("\"minimax_vl_01\"", "\"llava\"");
    assert!(error.contains("1 tensors that the model does not use: `image_newline`"), "{error}");
}
