//! How failures are told: one sentence on stderr and an exit code.

use crate::fit::DoesNotFit;
use crate::senses::Unseen;
use engine::Refused;
use server::direct::AskError;
use std::io::Write;
use std::process::ExitCode;

/// Arguments that are fine one by one and make no sense together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misuse(pub(crate) String);

/// Work that was ended from the terminal.
#[derive(Debug, thiserror::Error)]
#[error("interrupted: nothing was written")]
pub(crate) struct Interrupted;

/// A failure with all its causes, for those that want an error of one type.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failed(#[source] pub(crate) anyhow::Error);

/// 1: the work failed.
const FAILED: u8 = 1;
/// 2: the command line makes no sense.
const MISUSE: u8 = 2;
/// 3: the model or its config is invalid.
const INVALID_MODEL: u8 = 3;
/// 4: the request is larger than the model's context or the machine's memory.
const DOES_NOT_FIT: u8 = 4;
/// 130: ended by an interrupt.
const INTERRUPTED: u8 = 130;

/// Prints `error` and chooses the exit code by what it is.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if stdout_is_closed(error) {
        return ExitCode::SUCCESS;
    }
    let mut message = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Some errors quote their cause themselves.
        if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    // Nobody is left to tell if stderr is closed.
    _ = writeln!(std::io::stderr(), "error: {message}");
    ExitCode::from(code_of(error))
}

fn code_of(error: &anyhow::Error) -> u8 {
    let unseen = error.chain().find_map(|cause| cause.downcast_ref::<Unseen>());
    let blind = matches!(unseen, Some(Unseen::NoSense { .. }));
    if blind || error.chain().any(|cause| cause.is::<Misuse>()) {
        return MISUSE;
    }
    if error.chain().any(|cause| cause.is::<Interrupted>()) {
        return INTERRUPTED;
    }
    let too_large = error.chain().any(|cause| {
        let refused = cause.downcast_ref();
        let unseen = cause.downcast_ref::<Unseen>().is_some_and(Unseen::is_too_large);
        unseen
            || cause.is::<DoesNotFit>()
            || matches!(refused, Some(Refused::TooLong { .. } | Refused::TooLarge { .. }))
            || matches!(cause.downcast_ref(), Some(AskError::Refused { code: Some(code), .. })
                if ["context_length_exceeded", "memory_exceeded"].contains(&&code[..]))
    });
    if too_large {
        return DOES_NOT_FIT;
    }
    let model = error.chain().any(|cause| {
        let of_model = |error: &models::Error| !matches!(error, models::Error::Input { .. });
        cause.downcast_ref().is_some_and(of_model)
            || cause.is::<text::Error>()
            || cause.is::<text::words::InvalidWords>()
            || cause.downcast_ref::<tensor::Error>().is_some_and(|error| !error.is_write())
    });
    if model { INVALID_MODEL } else { FAILED }
}

/// Whoever reads stdout has seen enough, as `head` does: no failure. Nothing else is written to
/// that can close so.
fn stdout_is_closed(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a session's question is refused with has the exit code that it has without a session.
    #[test]
    fn what_does_not_fit_has_one_code() {
        let refused = |code: Option<&str>| {
            let (message, code) = (String::new(), code.map(str::to_owned));
            code_of(&AskError::Refused { message, code }.into())
        };
        assert_eq!(refused(Some("memory_exceeded")), DOES_NOT_FIT);
        assert_eq!(refused(Some("context_length_exceeded")), DOES_NOT_FIT);
        assert_eq!([refused(Some("not_found")), refused(None)], [FAILED; 2]);
        let (prompt, answer, context) = (1, 2, 2);
        assert_eq!(code_of(&Refused::TooLong { prompt, answer, context }.into()), DOES_NOT_FIT);
    }
}
