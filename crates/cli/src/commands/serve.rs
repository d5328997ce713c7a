//! `fulgurite serve`: a model over HTTP.

use crate::clip_store::ClipStore;
use crate::clips::ClipMaker;
use crate::commands::video::model::Model;
use crate::failure::{Failed, Misuse};
use crate::served::{Options, Plan, gibibytes};
use crate::sessions::{FileSessions, home};
use crate::spill::Spill;
use anyhow::Context as _;
use indicatif::HumanBytes;
use server::video::Queue;
use server::{App, Keys, Settings};
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tensor::Device;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Address to listen at
    #[arg(long, env = "FULGURITE_HOST", default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen at; 0 takes a free one
    #[arg(long, env = "FULGURITE_PORT", default_value_t = 8080)]
    port: u16,
    /// A key that lets in; may be given several times. Clients of one key share memory
    #[arg(long, env = "FULGURITE_API_KEY", hide_env_values = true, value_delimiter = ',')]
    api_key: Vec<String>,
    /// A file with keys, one a line
    #[arg(long, env = "FULGURITE_API_KEY_FILE")]
    api_key_file: Option<PathBuf>,
    /// Let everybody in who can reach an address that is not this machine's own
    #[arg(long)]
    insecure: bool,
    /// Origin whose pages may ask, or `*`; may be given several times
    #[arg(long, env = "FULGURITE_CORS", value_delimiter = ',')]
    cors: Vec<String>,
    /// Most tokens of an answer whose request does not say
    #[arg(long, env = "FULGURITE_MAX_TOKENS", default_value = "4096")]
    max_tokens: NonZeroUsize,
    /// Most bytes of a request, in MiB
    #[arg(long, env = "FULGURITE_MAX_BODY", default_value = "32")]
    max_body: NonZeroUsize,
    /// Most connections at a time
    #[arg(long, env = "FULGURITE_CONNECTIONS", default_value = "4096")]
    connections: NonZeroUsize,
    /// The folder of a model that makes clips; the embedded one unless set
    #[arg(long, env = "FULGURITE_VIDEO_MODEL")]
    video_model: Option<PathBuf>,
    /// Seconds that answers may go on once the server is to stop
    #[arg(long, env = "FULGURITE_GRACE", default_value_t = 30)]
    grace: u64,
    /// A folder for what conversations have read and memory has no room for; it comes back from there
    /// sooner than it is read again
    #[arg(long, env = "FULGURITE_SPILL")]
    spill: Option<PathBuf>,
    /// Most that is kept there, in GiB
    #[arg(long, env = "FULGURITE_SPILL_SIZE", value_parser = gibibytes, default_value = "16")]
    spill_size: u64,
    /// Say each request on stderr
    #[arg(long, short)]
    verbose: bool,
}

pub(crate) fn run(arguments: &Arguments, device: &Device) -> anyhow::Result<()> {
    let keys = Keys::new(&arguments.api_key, arguments.api_key_file.as_deref())
        .map_err(|error| Misuse(error.to_string()))?;
    let loopback = arguments.host.is_loopback();
    if !loopback && keys.is_empty() && !arguments.insecure {
        let message = format!(
            "--host {} lets others in, expected --api-key or --api-key-file, or --insecure to let in \
             everybody",
            arguments.host
        );
        return Err(Misuse(message).into());
    }
    let mut plan = Plan::new(&arguments.options, device)?;
    let filter = match arguments.verbose {
        true => tracing_subscriber::filter::LevelFilter::INFO,
        false => tracing_subscriber::filter::LevelFilter::WARN,
    };
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(filter);
    // Set once, before anything is said.
    _ = log.with_ansi(false).try_init();
    let settings = Settings {
        keys,
        check_host: loopback,
        cors: arguments.cors.clone(),
        max_body_bytes: arguments.max_body.get() << 20,
        max_connections: arguments.connections.get(),
        grace: Duration::from_secs(arguments.grace),
        default_max_tokens: arguments.max_tokens.get(),
        ..Settings::default()
    };
    let mut ended = None;
    if let Some(folder) = &arguments.spill {
        let (spill, end) = Spill::new(folder, arguments.spill_size, plan.config.clone())?;
        (plan.spill, ended) = (Some(spill), Some(end));
    }
    let sessions = FileSessions::new(Some(plan.config.clone()));
    let app = App::new(settings, Arc::new(sessions));
    let address = SocketAddr::new(arguments.host, arguments.port);
    let name = plan.name.clone();
    let listening = |address: SocketAddr| {
        // Nobody is left to tell if stderr is closed.
        _ = writeln!(std::io::stderr(), "serving `{name}` at http://{address}");
    };
    let device = device.clone();
    let video_model = arguments.video_model.clone();
    let load = move |app: &App| {
        let maker = Model::open(video_model.as_deref(), &device).map_err(Failed)?;
        let maker = ClipMaker::new(maker, plan.spare());
        let room = plan.room();
        let served = plan.load(&device).map_err(Failed)?;
        let (context, clips) = (served.context, line_of_clips(maker));
        // In this order: a server with clips alone is ready, too, and has no model for text.
        app.add(served);
        match clips {
            Ok(clips) => app.add_video(clips),
            // A folder that is not as it should be is no reason to say nothing.
            Err(error) => _ = writeln!(std::io::stderr(), "no clips are made: {error:#}"),
        }
        // Whoever reads this may ask at once.
        _ = writeln!(
            std::io::stderr(),
            "ready: {context} tokens of context, {} for what conversations have read",
            HumanBytes(room)
        );
        Ok(())
    };
    let ran = server::run::<Failed>(address, &app, listening, load);
    // With it go the engine and its files.
    drop(app);
    if let Some(ended) = ended {
        ended.wait();
    }
    Ok(ran?)
}

/// The line of clips that `maker` makes, in the user's folder.
fn line_of_clips(maker: ClipMaker) -> anyhow::Result<Arc<Queue>> {
    let home = home();
    let cannot = || format!("cannot keep them in `{}`", home.join("videos").display());
    let store = ClipStore::open(&home).with_context(cannot)?;
    let limits = server::video::Limits::default();
    Queue::start(Arc::new(maker), Arc::new(store), limits).with_context(cannot)
}
