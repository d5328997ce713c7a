//! Connections: accepted up to a limit, timed out when nothing comes or goes, drained at the end.

use crate::app::App;
use crate::guard::MAX_HEADER_BYTES;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, Sleep};

/// Headers that a connection reads before it gives up without a word; those above
/// [`MAX_HEADER_BYTES`] and below this are answered in the envelope.
const MAX_READ_BYTES: usize = 8 * MAX_HEADER_BYTES;
/// Threads for connections.
const RUNTIME_THREADS: usize = 2;
/// Threads for what takes long: templates, tokenizers, grammars, disks.
const BLOCKING_THREADS: usize = 32;
/// How long to wait after the system could not accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A server that cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError<E: std::error::Error + 'static> {
    /// An address that cannot be listened at.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system gives no threads or no signals.
    #[error("cannot start the server: {0}")]
    System(#[from] io::Error),
    /// The model cannot be loaded.
    #[error("{0}")]
    Load(#[source] E),
}

/// Listens at `address` and serves `app` until the process is told to end (SIGTERM, Ctrl-C), then
/// drains; a second signal ends it at once.
///
/// `listening` is told the address. Models are loaded by `load` meanwhile, which adds them to the app,
/// and requests are told so.
///
/// # Errors
///
/// If the address is taken, or a model cannot be loaded.
pub fn run<E: std::error::Error + Send + 'static>(
    address: SocketAddr,
    app: &Arc<App>,
    listening: impl FnOnce(SocketAddr),
    load: impl FnOnce(&App) -> Result<(), E> + Send + 'static,
) -> Result<(), ServeError<E>> {
    // Connections cost little, and the cores are for the model.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| ServeError::Listen { address, source })?;
        listening(listener.local_addr()?);
        let (failed, failure) = tokio::sync::oneshot::channel();
        let loading = Arc::clone(app);
        // Not one of the blocking threads: loading ends when the process does.
        std::thread::spawn(move || {
            if let Err(error) = load(&loading) {
                _ = failed.send(error);
            }
        });
        let failure = async {
            match failure.await {
                Ok(error) => error,
                // It was loaded.
                Err(_) => std::future::pending().await,
            }
        };
        let mut signals = Signals::new()?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = serve(listener, Arc::clone(app), async { _ = stopped.await });
        let mut serving = pin!(serving);
        tokio::select! {
            error = failure => return Err(ServeError::Load(error)),
            ended = &mut serving => return Ok(ended?),
            () = signals.next() => {}
        }
        _ = stop.send(());
        tokio::select! {
            ended = serving => Ok(ended?),
            () = signals.next() => {
                app.stop();
                Ok(())
            }
        }
    });
    // Work that nobody waits for any more is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// What tells the process to end.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        let terminate = self.terminate.recv();
        #[cfg(not(unix))]
        let terminate = std::future::pending::<()>();
        tokio::select! {
            _ = terminate => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    }
}

/// Serves `app` until `shutdown` is there: then takes no more connections, lets answers go on for the
/// time of grace, ends the rest and returns.
///
/// # Errors
///
/// If the listener's address cannot be told.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let router = app.router();
    let limit = Arc::new(Semaphore::new(app.settings.max_connections));
    let (draining, drain) = watch::channel(false);
    let mut shutdown = pin!(shutdown);
    tracing::info!("listening on {}", listener.local_addr()?);
    loop {
        let accept = async {
            // Never closed, so always granted in the end.
            let permit = Arc::clone(&limit).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (app, router, drain) = (Arc::clone(&app), router.clone(), drain.clone());
                tokio::spawn(async move {
                    connection(&app, router, stream, drain).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    app.drain();
    draining.send_replace(true);
    drop(drain);
    let grace = app.settings.grace;
    tracing::info!("stopping: answers may go on for {} s", grace.as_secs());
    if tokio::time::timeout(grace, draining.closed()).await.is_err() {
        tracing::warn!("ending {} connections", draining.receiver_count());
    }
    app.stop();
    // Answers that were ended tell so.
    _ = tokio::time::timeout(Duration::from_secs(1), draining.closed()).await;
    Ok(())
}

async fn connection(
    app: &App,
    router: Router,
    stream: TcpStream,
    mut drain: watch::Receiver<bool>,
) {
    _ = stream.set_nodelay(true);
    let stream = Patient::new(stream, app.settings.write_timeout);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(app.settings.header_timeout)
        .max_buf_size(MAX_READ_BYTES)
        .keep_alive(true);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let drained = async {
        // An error means that the server is gone, which comes to the same.
        _ = drain.wait_for(|&draining| draining).await;
    };
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = drained => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection broke off: {error}");
    }
}

/// A stream whose other end must read something now and then.
#[derive(Debug)]
struct Patient {
    stream: TcpStream,
    patience: Duration,
    /// Runs while nothing can be written.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: TcpStream, patience: Duration) -> Self {
        Self { stream, patience, timer: None }
    }

    /// `result` of a try to write; an error once nothing could be written for too long.
    fn timed<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.timer = None;
            return result;
        }
        let deadline = Instant::now() + self.patience;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        match timer.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.timed(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.timed(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.timed(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
