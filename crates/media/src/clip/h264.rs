//! H.264 of I-PCM macroblocks: samples as they are, in baseline streams that every decoder plays
//! (ITU-T H.264, 7.3 and annex E). 1.5 bytes a pixel, and nothing is lost after the colors.
//!
//! Every frame is one slice and a point to start at, without prediction or filter. A macroblock is two
//! bytes, the number 25 and zeros up to the next byte, and 256 + 64 + 64 samples.

use super::bits::{BitReader, BitWriter};
use super::color::{Chroma, Planes};

/// Pixels of a side of a macroblock.
const SIDE: usize = 16;
/// Kinds of units: a picture to start at, and the two sets of parameters.
const IDR: u8 = 5;
const SEQUENCE: u8 = 7;
const PICTURE: u8 = 8;
/// `mb_type` of I-PCM in an I slice, and `slice_type` of pictures that have only those.
const I_PCM: u32 = 25;
const ALL_I: u32 = 7;
/// Baseline, and the flags that say that a main decoder plays it too.
const BASELINE: u8 = 66;
const CONSTRAINTS: u8 = 0b1100_0000;
/// Codes of colors: primaries of BT.709 (as sRGB), the curve of sRGB, the matrix of BT.601.
pub(super) const COLORS: [u8; 3] = [1, 13, 6];

/// `level_idc`, and what a level allows: macroblocks a second, macroblocks of a frame, and thousands of
/// bits a second (table A-1).
const LEVELS: [(u8, u64, u64, u64); 19] = [
    (10, 1_485, 99, 64),
    (11, 3_000, 396, 192),
    (12, 6_000, 396, 384),
    (13, 11_880, 396, 768),
    (20, 11_880, 396, 2_000),
    (21, 19_800, 792, 4_000),
    (22, 20_250, 1_620, 4_000),
    (30, 40_500, 1_620, 10_000),
    (31, 108_000, 3_600, 14_000),
    (32, 216_000, 5_120, 20_000),
    (40, 245_760, 8_192, 20_000),
    (41, 245_760, 8_192, 50_000),
    (42, 522_240, 8_704, 50_000),
    (50, 589_824, 22_080, 135_000),
    (51, 983_040, 36_864, 240_000),
    (52, 2_073_600, 36_864, 240_000),
    (60, 4_177_920, 139_264, 240_000),
    (61, 8_355_840, 139_264, 480_000),
    (62, 16_711_680, 139_264, 800_000),
];
/// Bits of a stream that a level's thousand stands for, with what is around the samples.
const LEVEL_BITS: u64 = 1_200;

/// Pixels of a side up to which level 6.2 goes: the root of 8 times its macroblocks, in pixels.
pub(super) const LONGEST_SIDE: usize = 16_880;
/// Pixels of a frame up to which it goes.
pub(super) const MOST_PIXELS: usize = 139_264 * SIDE * SIDE;

/// What a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stream {
    /// In pixels, as shown; both are even.
    pub(super) width: usize,
    pub(super) height: usize,
    /// Frames per second as a fraction.
    pub(super) rate: (u32, u32),
}

/// What can be wrong with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It ends too early, or is no H.264.
    Damaged,
    /// It has more than I-PCM.
    Foreign,
}

impl Stream {
    /// Macroblocks of a row, and rows of them.
    fn macroblocks(&self) -> (usize, usize) {
        (self.width.div_ceil(SIDE), self.height.div_ceil(SIDE))
    }

    /// The lowest level that allows it; the highest if none does.
    pub(super) fn level(&self) -> u8 {
        let (columns, rows) = self.macroblocks();
        let frame = (columns * rows) as u64;
        let a_second = frame * u64::from(self.rate.0) / u64::from(self.rate.1);
        let bits = a_second * (2 + 384) * 8;
        let side = |most: u64| columns.max(rows) as u64 <= (8 * most).isqrt();
        let fits = |&&(_, mbps, most, kbits): &&(u8, u64, u64, u64)| {
            a_second <= mbps && frame <= most && side(most) && bits <= kbits * LEVEL_BITS
        };
        LEVELS.iter().find(fits).map_or(62, |level| level.0)
    }

    /// The sequence parameter set, with profile, constraints and level in its bytes 1 to 3.
    pub(super) fn sequence_set(&self) -> Vec<u8> {
        let (columns, rows) = self.macroblocks();
        let mut bits = BitWriter::default();
        bits.bytes(&[BASELINE, CONSTRAINTS, self.level()]);
        bits.unsigned(0); // seq_parameter_set_id
        bits.unsigned(0); // log2_max_frame_num_minus4
        bits.unsigned(2); // pic_order_cnt_type: as decoded
        bits.unsigned(0); // max_num_ref_frames
        bits.flag(false); // gaps_in_frame_num_value_allowed_flag
        bits.unsigned(columns as u32 - 1);
        bits.unsigned(rows as u32 - 1);
        bits.flag(true); // frame_mbs_only_flag
        bits.flag(true); // direct_8x8_inference_flag
        let (right, bottom) = (columns * SIDE - self.width, rows * SIDE - self.height);
        bits.flag(right + bottom > 0);
        if right + bottom > 0 {
            // In pairs of pixels, since colors are shared by pairs.
            for crop in [0, right / 2, 0, bottom / 2] {
                bits.unsigned(crop as u32);
            }
        }
        bits.flag(true); // vui_parameters_present_flag
        bits.flag(false); // aspect_ratio_info_present_flag
        bits.flag(false); // overscan_info_present_flag
        bits.flag(true); // video_signal_type_present_flag
        bits.bits(5, 3); // video_format: unspecified
        bits.flag(false); // video_full_range_flag
        bits.flag(true); // colour_description_present_flag
        COLORS.iter().for_each(|&code| bits.bits(code.into(), 8));
        bits.flag(true); // chroma_loc_info_present_flag: in the middle, being means
        bits.unsigned(1);
        bits.unsigned(1);
        bits.flag(true); // timing_info_present_flag
        bits.bits(self.rate.1, 32); // num_units_in_tick
        bits.bits(self.rate.0 * 2, 32); // time_scale: of fields
        bits.flag(true); // fixed_frame_rate_flag
        bits.flag(false); // nal_hrd_parameters_present_flag
        bits.flag(false); // vcl_hrd_parameters_present_flag
        bits.flag(false); // pic_struct_present_flag
        bits.flag(true); // bitstream_restriction_flag
        bits.flag(false); // motion_vectors_over_pic_boundaries_flag
        // max_bytes_per_pic_denom, max_bits_per_mb_denom (no limit), log2 of both motion vectors.
        (0..4).for_each(|_| bits.unsigned(0));
        bits.unsigned(0); // max_num_reorder_frames
        bits.unsigned(0); // max_dec_frame_buffering
        unit(SEQUENCE, &bits.finish())
    }

    /// The picture parameter set.
    pub(super) fn picture_set() -> Vec<u8> {
        let mut bits = BitWriter::default();
        bits.unsigned(0); // pic_parameter_set_id
        bits.unsigned(0); // seq_parameter_set_id
        bits.flag(false); // entropy_coding_mode_flag: CAVLC
        bits.flag(false); // bottom_field_pic_order_in_frame_present_flag
        bits.unsigned(0); // num_slice_groups_minus1
        bits.unsigned(0); // num_ref_idx_l0_default_active_minus1
        bits.unsigned(0); // num_ref_idx_l1_default_active_minus1
        bits.flag(false); // weighted_pred_flag
        bits.bits(0, 2); // weighted_bipred_idc
        bits.unsigned(0); // pic_init_qp_minus26
        bits.unsigned(0); // pic_init_qs_minus26
        bits.unsigned(0); // chroma_qp_index_offset
        bits.flag(true); // deblocking_filter_control_present_flag
        bits.flag(false); // constrained_intra_pred_flag
        bits.flag(false); // redundant_pic_cnt_present_flag
        unit(PICTURE, &bits.finish())
    }

    /// Frame `i` as a unit; what is beyond its edges in the last macroblocks repeats them.
    pub(super) fn encode(&self, planes: &Planes, i: usize) -> Vec<u8> {
        let (columns, rows) = self.macroblocks();
        let mut bits = BitWriter::default();
        bits.unsigned(0); // first_mb_in_slice
        bits.unsigned(ALL_I);
        bits.unsigned(0); // pic_parameter_set_id
        bits.bits(0, 4); // frame_num
        bits.unsigned(i as u32 % 2); // idr_pic_id: not that of the frame before
        bits.flag(false); // no_output_of_prior_pics_flag
        bits.flag(false); // long_term_reference_flag
        bits.unsigned(0); // slice_qp_delta
        bits.unsigned(1); // disable_deblocking_filter_idc
        let (chroma_width, chroma_height) = planes.chroma_size();
        let mut samples = Vec::with_capacity(384);
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |i| (row, i))) {
            bits.unsigned(I_PCM);
            bits.align();
            samples.clear();
            let luma = (&planes.y[..], planes.width, planes.height, SIDE);
            let blue = (&planes.cb[..], chroma_width, chroma_height, SIDE / 2);
            let red = (&planes.cr[..], chroma_width, chroma_height, SIDE / 2);
            for (plane, width, height, side) in [luma, blue, red] {
                for y in (row * side..(row + 1) * side).map(|y| y.min(height - 1)) {
                    let across = (column * side..(column + 1) * side).map(|x| x.min(width - 1));
                    samples.extend(across.map(|x| plane[y * width + x]));
                }
            }
            bits.bytes(&samples);
        }
        unit(IDR, &bits.finish())
    }

    /// Reads what [`Self::sequence_set`] writes; the rate is that of the file around it.
    pub(super) fn from_sequence_set(unit: &[u8]) -> Result<Self, Fault> {
        let payload = payload(unit, SEQUENCE)?;
        let mut bits = BitReader::new(&payload);
        let profile = bits.bits(8).ok_or(Fault::Damaged)?;
        if profile != BASELINE.into() {
            return Err(Fault::Foreign);
        }
        let fields = read_sequence(&mut bits).ok_or(Fault::Damaged)?;
        let Sequence { plain, columns, rows, crop } = fields;
        if !plain {
            return Err(Fault::Foreign);
        }
        let side = |macroblocks: u32, crop: u64| {
            let pixels = u64::from(macroblocks + 1) * SIDE as u64;
            pixels.checked_sub(crop * 2).filter(|&pixels| pixels > 0).ok_or(Fault::Damaged)
        };
        let [left, right, top, bottom] = crop.map(u64::from);
        // Only the last macroblocks are cut, as they are written.
        if left + top > 0 || right.max(bottom) * 2 >= SIDE as u64 {
            return Err(Fault::Foreign);
        }
        let (width, height) = (side(columns, right)? as usize, side(rows, bottom)? as usize);
        Ok(Self { width, height, rate: (1, 1) })
    }

    /// Reads what [`Self::encode`] writes.
    pub(super) fn decode(&self, unit: &[u8]) -> Result<Planes, Fault> {
        let (columns, rows) = self.macroblocks();
        // Before memory is taken: this many samples must be there.
        if unit.len() < columns * rows * 384 {
            return Err(Fault::Foreign);
        }
        let payload = payload(unit, IDR)?;
        let mut bits = BitReader::new(&payload);
        let header = [
            bits.unsigned() == Some(0),
            matches!(bits.unsigned(), Some(ALL_I | 2)),
            bits.unsigned() == Some(0),
            bits.bits(4).is_some(),
            bits.unsigned().is_some(),
            bits.bits(2).is_some(),
            bits.unsigned().is_some(),
            bits.unsigned() == Some(1),
        ];
        if header.contains(&false) {
            return Err(Fault::Foreign);
        }
        let chroma = Chroma::Quarter;
        let (width, height) = (self.width, self.height);
        let (chroma_width, chroma_height) = chroma.size(width, height);
        let color = vec![0; chroma_width * chroma_height];
        let y = vec![0; width * height];
        let mut planes = Planes { width, height, chroma, y, cb: color.clone(), cr: color };
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |i| (row, i))) {
            if bits.unsigned().ok_or(Fault::Damaged)? != I_PCM {
                return Err(Fault::Foreign);
            }
            bits.align().ok_or(Fault::Damaged)?;
            let luma = (&mut planes.y[..], width, height, SIDE);
            let blue = (&mut planes.cb[..], chroma_width, chroma_height, SIDE / 2);
            let red = (&mut planes.cr[..], chroma_width, chroma_height, SIDE / 2);
            for (plane, width, height, side) in [luma, blue, red] {
                let samples = bits.bytes(side * side).ok_or(Fault::Damaged)?;
                let x = column * side;
                let count = side.min(width - x);
                for (y, line) in (row * side..height).zip(samples.chunks_exact(side)) {
                    plane[y * width + x..][..count].copy_from_slice(&line[..count]);
                }
            }
        }
        Ok(planes)
    }
}

/// What a sequence parameter set says, as far as it matters.
struct Sequence {
    /// Whether there are whole frames in their order, as [`Stream::sequence_set`] says.
    plain: bool,
    columns: u32,
    rows: u32,
    crop: [u32; 4],
}

fn read_sequence(bits: &mut BitReader<'_>) -> Option<Sequence> {
    bits.bits(16)?; // constraints and level
    let mut plain = bits.unsigned()? == 0; // seq_parameter_set_id
    plain &= bits.unsigned()? == 0; // log2_max_frame_num_minus4
    plain &= bits.unsigned()? == 2; // pic_order_cnt_type
    bits.unsigned()?; // max_num_ref_frames
    bits.flag()?; // gaps_in_frame_num_value_allowed_flag
    let (columns, rows) = (bits.unsigned()?, bits.unsigned()?);
    plain &= bits.flag()?; // frame_mbs_only_flag
    bits.flag()?; // direct_8x8_inference_flag
    let mut crop = [0; 4];
    if plain && bits.flag()? {
        for side in &mut crop {
            *side = bits.unsigned()?;
        }
    }
    Some(Sequence { plain, columns, rows, crop })
}

/// A unit of a `kind`: a byte in front, and a 3 wherever two zeros would come before 0, 1, 2 or 3, which
/// would look like a beginning (7.4.1).
fn unit(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut unit = Vec::with_capacity(payload.len() + payload.len() / 64 + 1);
    unit.push(3 << 5 | kind);
    let mut zeros = 0;
    for &byte in payload {
        if zeros == 2 && byte <= 3 {
            unit.push(3);
            zeros = 0;
        }
        unit.push(byte);
        zeros = if byte == 0 { zeros + 1 } else { 0 };
    }
    unit
}

/// What [`unit`] was made of, if it is of this `kind`.
fn payload(unit: &[u8], kind: u8) -> Result<Vec<u8>, Fault> {
    let (&header, body) = unit.split_first().ok_or(Fault::Damaged)?;
    if header & 0x80 != 0 {
        return Err(Fault::Damaged);
    }
    if header & 0x1f != kind {
        return Err(Fault::Foreign);
    }
    let mut payload = Vec::with_capacity(body.len());
    let mut zeros = 0;
    for &byte in body {
        if zeros == 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        payload.push(byte);
        zeros = if byte == 0 { zeros + 1 } else { 0 };
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn planes(width: usize, height: usize, seed: u8) -> Planes {
        let (w, h) = Chroma::Quarter.size(width, height);
        // Many zeros, which need bytes between them.
        let values = |len: usize, step: usize| -> Vec<u8> {
            (0..len).map(|i| ((i * step + usize::from(seed)) % 7 / 5 * (i % 256)) as u8).collect()
        };
        let (y, cb, cr) = (values(width * height, 3), values(w * h, 5), values(w * h, 11));
        Planes { width, height, chroma: Chroma::Quarter, y, cb, cr }
    }

    proptest! {
        #[test]
        fn samples_come_back_exactly(w in 1..40_usize, h in 1..40_usize, seed: u8, i in 0..5_usize) {
            let stream = Stream { width: w * 2, height: h * 2, rate: (6, 1) };
            let again = Stream::from_sequence_set(&stream.sequence_set()).unwrap();
            prop_assert_eq!((again.width, again.height), (w * 2, h * 2));
            let planes = planes(w * 2, h * 2, seed);
            let unit = stream.encode(&planes, i);
            let starts = unit.windows(3).filter(|bytes| bytes[..2] == [0, 0] && bytes[2] < 3).count();
            prop_assert_eq!(starts, 0);
            prop_assert_eq!(again.decode(&unit), Ok(planes));
            prop_assert!(again.decode(&unit[..unit.len() / 2]).is_err());
        }

        #[test]
        fn payloads_come_back(bytes in prop::collection::vec(0..5_u8, 1..200)) {
            prop_assert_eq!(payload(&unit(IDR, &bytes), IDR), Ok(bytes));
        }
    }

    #[test]
    fn levels_are_as_low_as_possible() {
        for (width, height, rate, want) in [
            (64, 64, 6, 12),
            (256, 256, 6, 21),
            (512, 512, 24, 50),
            (1280, 720, 24, 51),
            (4096, 4096, 60, 62),
        ] {
            let level = Stream { width, height, rate: (rate, 1) }.level();
            assert_eq!(level, want, "{width} x {height} at {rate}");
        }
    }

    #[test]
    fn other_streams_are_foreign() {
        let stream = Stream { width: 16, height: 16, rate: (6, 1) };
        let mut sequence = stream.sequence_set();
        sequence[1] = 100;
        assert_eq!(Stream::from_sequence_set(&sequence), Err(Fault::Foreign));
        assert_eq!(Stream::from_sequence_set(&Stream::picture_set()), Err(Fault::Foreign));
        assert_eq!(Stream::from_sequence_set(&[]), Err(Fault::Damaged));
        let mut frame = stream.encode(&planes(16, 16, 1), 0);
        frame[0] = 3 << 5 | 1;
        assert_eq!(stream.decode(&frame), Err(Fault::Foreign));
    }
}
