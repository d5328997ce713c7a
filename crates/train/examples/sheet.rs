use train::senses::pictures::Picture; use train::clips::Split; use tensor::Rng;
fn main() {
    let n: usize = 8; let s = 128; let mut sheet = vec![0u8; n*s*6*s*3];
    for i in 0..48 { let p = Picture::draw(&mut Rng::stream(11, i as u64), Split::Train);
        println!("{i}: {:?} | {:?}", p.transcript, p.questions.iter().map(|q| format!("{} {}", q.text, q.answer)).collect::<Vec<_>>());
        for y in 0..s { let at = ((i/n*s + y)*n*s + i%n*s)*3; sheet[at..at+s*3].copy_from_slice(&p.pixels.data[y*s*3..(y+1)*s*3]); } }
    std::fs::write("/tmp/sheet.png", media::picture::to_png(&sheet, n*s, 6*s).unwrap()).unwrap();
    let t = std::time::Instant::now(); for i in 0..300 { std::hint::black_box(Picture::draw(&mut Rng::stream(11, i), Split::Train)); } println!("{:?}", t.elapsed()/300);
}
