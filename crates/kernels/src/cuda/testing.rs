//! What the tests of GPU kernels share.

use super::{Cuda, Unavailable};
use std::sync::OnceLock;

/// The first GPU; `None`, said aloud once, if there is none. `REQUIRE_CUDA=1` makes that a failure.
pub(crate) fn cuda() -> Option<Cuda> {
    static CUDA: OnceLock<Result<Cuda, Unavailable>> = OnceLock::new();
    let open = || {
        let cuda = Cuda::new(0);
        if let Err(reason) = &cuda {
            // Not through `eprintln!`: the harness shows that of failing tests only.
            let line = format!("skipped: tests of GPU kernels: {reason}\n");
            let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
        }
        cuda
    };
    match CUDA.get_or_init(open) {
        Ok(cuda) => Some(cuda.clone()),
        Err(Unavailable::Compiler(log)) => panic!("{log}"),
        Err(reason) => {
            assert!(std::env::var_os("REQUIRE_CUDA").is_none(), "{reason}");
            None
        }
    }
}
