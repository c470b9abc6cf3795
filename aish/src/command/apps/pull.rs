use std::path::PathBuf;

use aigis_proxy::{Error, Name, quoted};
use aigis_registry::AppState;
use clap_complete::ArgValueCompleter;
use serde_json::json;

use crate::{
    chains,
    command::push::finish::{Home, Made},
    completion,
    context::Context,
    exit::Failure,
    follow::teller::Teller,
    output::Printer,
    state_dir::{self, StateDir},
};

/// Bring an app's files and state into a directory
///
/// What its last chain left. A file that was changed here stays, and the chain's goes beside it; nothing is deleted.
#[derive(Debug, clap::Args)]
pub(super) struct Pull {
    /// The app
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(completion::apps))]
    name: Name,
    /// The directory, which is made if need be [default: one of the app's name]
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
}

impl Pull {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let asking = context.session().await?;
        let app = chains::app(&asking.shared(), &self.name).await?;
        let path = self.path.unwrap_or_else(|| PathBuf::from(self.name.as_str()));
        let shown = quoted(&path.to_string_lossy());
        if path.exists() && !path.is_dir() {
            return Err(Failure::usage(format!("\"{shown}\" is no directory"), "name another one"));
        }
        std::fs::create_dir_all(&path).map_err(state_dir::local)?;
        let root = path.canonicalize().map_err(state_dir::local)?;
        let state = StateDir::of(&root);
        let project = state.id()?;
        if project.as_ref().is_some_and(|project| *project != app.project) {
            return Err(Error::new(
                aigis_proxy::Code::AlreadyExists,
                format!("\"{shown}\" is the directory of another project"),
            )
            .hint(format!("name another one: aish apps pull {} PATH", self.name))
            .into());
        }
        state.adopt(&self.name, &app.project)?;
        // What is here that the chain changed was uploaded by a push of this directory, or is another's.
        let before = if project.is_some() { state.read().map(|(state, _)| state)? } else { AppState::default() };
        let printer = Printer::start(&context.output);
        let teller = Teller::new(context.output, printer.pen());
        let home = Home { bus: asking.bus().clone(), root, state_dir: state, state: before, no_save: false };
        let made = Made { base: app.source.tree, app: app.app_tree, state: app.state_tree, fill: true };
        let json = context.output.is_json();
        let pulling = async move {
            let back = home.bring(made, true, &teller).await?;
            let conflicts: Vec<&String> = back.conflicts.iter().map(|(path, _)| path).collect();
            let fields = json!({"name": app.name, "path": home.root, "written": back.written, "conflicts": conflicts});
            let words = format!("{} files of {} are in {}", back.written.len(), app.name, home.root.display());
            teller.put(move |output| if json { output.json(&fields) } else { output.text(&words) }).await
        };
        printer.until(false, Box::pin(pulling)).await
    }
}
