//! `fulgurite`: runs, examines and trains hybrid linear-attention models.
//!
//! stdout is data, stderr is everything else.
#![expect(clippy::print_stderr, reason = "progress and errors are for the one at the terminal")]

mod clip_store;
mod clips;
mod commands;
mod embedded;
mod failure;
mod fit;
mod gguf;
mod model;
mod plot;
mod prompt;
mod quantized;
mod senses;
mod served;
mod sessions;
mod spill;
mod table;
mod talk;

use clap::{Parser, Subcommand};
use commands::{
    bench, chat, convert, doctor, eval, init, inspect, plan, quantize, run, serve, session, train,
    video,
};
use std::process::ExitCode;

/// Runs and trains models built on lightning attention; what they have read stays.
#[derive(Parser)]
#[command(name = "fulgurite", version, arg_required_else_help = true)]
struct Arguments {
    /// Threads to compute with; all cores unless set
    #[arg(long, global = true, env = "FULGURITE_THREADS")]
    threads: Option<std::num::NonZeroUsize>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer a question, about files if there are any
    Run(run::Arguments),
    /// Answer over HTTP: the interfaces of OpenAI and Anthropic, and a page
    Serve(Box<serve::Arguments>),
    /// Talk with a model
    Chat(chat::Arguments),
    /// Make a clip of a prompt, of its first or last frame, or of a picture of a subject
    Video(Box<video::Arguments>),
    /// Conversations that are kept
    #[command(subcommand)]
    Session(session::What),
    /// Measure how fast a model reads and writes here
    Bench(bench::Arguments),
    /// Make a random checkpoint of any shape
    Init(init::Arguments),
    /// Make a GGUF file of a model's folder, or a folder of a GGUF file
    Convert(convert::Arguments),
    /// Keep a model's matrices in blocks of 8 or 4 bits
    Quantize(quantize::Arguments),
    /// Train a model from a recipe
    Train(train::Arguments),
    /// Measure a model
    #[command(subcommand)]
    Eval(eval::What),
    /// Tell what a model will cost in memory and time, before anything is loaded
    Plan(plan::Arguments),
    /// Show what a checkpoint holds
    Inspect(inspect::Arguments),
    /// Show what this machine offers
    Doctor,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let threads = arguments.threads.map_or(cores, std::num::NonZeroUsize::get);
    let device = || tensor::Device::cpu(threads);
    let result = match arguments.command {
        Command::Run(arguments) => run::run(&arguments, &device()),
        Command::Serve(arguments) => serve::run(&arguments, &device()),
        Command::Chat(arguments) => chat::run(&arguments, &device()),
        Command::Video(arguments) => video::run(&arguments, &device()),
        Command::Session(what) => session::run(&what),
        Command::Bench(arguments) => bench::run(&arguments, &device()),
        Command::Init(arguments) => init::run(&arguments, &device()),
        Command::Convert(arguments) => convert::run(&arguments, &device()),
        Command::Quantize(arguments) => quantize::run(&arguments, &device()),
        Command::Train(arguments) => train::run(&arguments, &device()),
        Command::Eval(what) => eval::run(&what, &device()),
        Command::Plan(arguments) => plan::run(&arguments, &device()),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Doctor => doctor::run(&device()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}
