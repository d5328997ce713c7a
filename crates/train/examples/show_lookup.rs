//! Prints a generated document with its questions: `show_lookup [SEED [MAX_BYTES [held-out]]]`.
#![expect(clippy::print_stdout, reason = "this is what it is for")]

use tensor::Rng;
use train::lookup::{Spec, Split, document};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| arguments.next().and_then(|a| a.parse().ok()).unwrap_or(default);
    let (seed, max_bytes) = (number(1), number(1000));
    let split = if arguments.next().is_some() { Split::HeldOut } else { Split::Train };
    let (min_bytes, questions) = (max_bytes / 2, max_bytes / 60);
    let spec = Spec { split, min_bytes, max_bytes, questions, absent_share: 0.2 };
    let document = document(&spec, &mut Rng::stream(seed as u64, 0));
    println!("{}\n", document.text);
    for question in document.questions {
        println!("[{}] {} => {}", question.kind.name(), question.text, question.answer);
    }
}
