use std::path::{Path, PathBuf};

use aigis_node::plugins::{
    check::{self, Checked},
    config::{Config, Entry},
    manifest::{Launch, Manifest, Words},
    sdk,
};
use aigis_proxy::{Error, text_file, with_causes};
use serde_json::{Value, json};

use crate::{context::Context, exit::Failure};

const HEADER: [&str; 5] = ["NAME", "TABLE", "SOURCE", "REF", "HOST"];
/// No column of the table is a state.
const NO_STATE: usize = usize::MAX;

/// Check a plugin, or an Aigis config file
///
/// Needs no mesh. A plugin is copied and tried out: its requirements are installed into an environment that is thrown away,
/// and its skills are loaded and listed. With --static its files are read, and nothing of it is run. Of a config file only
/// that file is read, and nothing is fetched. The exit code is 65 if something is wrong.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  aish plugins check ./my-plugin\n  aish plugins check ./my-plugin --static --json\n  \
    aish plugins check --config ~/.config/aigis/config.aigis"
)]
pub(crate) struct Check {
    /// The plugin's directory
    #[arg(value_name = "PATH", required_unless_present = "config")]
    path: Option<PathBuf>,
    /// Read the plugin's files, and run nothing of it
    #[arg(long = "static", conflicts_with = "config")]
    is_static: bool,
    /// Check that config file instead
    #[arg(long, value_name = "FILE", conflicts_with = "path")]
    config: Option<PathBuf>,
}

impl Check {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match (self.config, self.path) {
            (Some(file), _) => config(context, &file),
            (None, Some(path)) => plugin(context, &path, self.is_static).await,
            (None, None) => {
                Err(Failure::usage("there is nothing to check", "name a plugin's directory, or --config FILE"))
            }
        }
    }
}

fn config(context: &Context, file: &Path) -> Result<(), Failure> {
    let config = Config::read(file).map_err(|error| Error::invalid(with_causes(&error)))?;
    if context.output.is_json() {
        return context.output.json(&config.entries);
    }
    let row = |entry: &Entry| {
        let Entry { name, table, source, host, .. } = entry;
        let reference = source.reference.as_ref().map(ToString::to_string).unwrap_or_default();
        let host = host.clone().unwrap_or_default();
        vec![name.to_string(), table.to_string(), source.location.to_string(), reference, host]
    };
    context.output.table(&HEADER, &config.entries.iter().map(row).collect::<Vec<_>>(), NO_STATE)?;
    for warning in config.entries.iter().flat_map(|entry| &entry.warnings) {
        context.output.note(warning);
    }
    Ok(())
}

async fn plugin(context: &Context, path: &Path, is_static: bool) -> Result<(), Failure> {
    let checked = if is_static {
        check::look(path)
    } else {
        let sdk = sdk::install(context.home()?.data()).map_err(Error::from)?;
        // What the plugin says meanwhile is told where it fails.
        Box::pin(check::run(path, &sdk, &mut |_| {})).await
    };
    let checked = checked.map_err(Error::from)?;
    if context.output.is_json() {
        return context.output.json(&object(&checked));
    }
    context.output.text(&text(&checked))?;
    for warning in &checked.warnings {
        context.output.note(warning);
    }
    Ok(())
}

fn object(checked: &Checked) -> Value {
    let Checked { manifest, missing_programs, interpreter, warnings, skills } = checked;
    let mut object = json!(manifest);
    if let Some(keys) = object.as_object_mut() {
        let python = interpreter.as_ref().map(|python| json!({"path": python.path, "version": python.version}));
        keys.insert("missing_programs".to_owned(), json!(missing_programs));
        keys.insert("python".to_owned(), json!(python));
        keys.insert("warnings".to_owned(), json!(warnings));
        keys.insert("skills".to_owned(), json!(skills));
    }
    object
}

fn text(checked: &Checked) -> String {
    let Checked { manifest, missing_programs, interpreter, skills, .. } = checked;
    let Manifest { kind, entrypoint, launch, host, system_requirements, requirement_command, requirement_file, .. } =
        manifest;
    let mut lines = vec![("type", kind.to_string()), ("entrypoint", text_file::shown(entrypoint))];
    lines.extend(launch.as_ref().map(|launch| ("launch", launched(launch))));
    lines.extend(host.as_ref().map(|host| ("host", host.clone())));
    lines.extend(
        interpreter
            .as_ref()
            .map(|python| ("python", format!("{} ({})", python.version, text_file::shown(&python.path)))),
    );
    let programs = system_requirements.iter().map(|program| match missing_programs.contains(program) {
        true => format!("{program} (missing)"),
        false => program.clone(),
    });
    lines.extend(joined(programs).map(|programs| ("programs", programs)));
    lines.extend(requirement_command.as_ref().map(|command| ("installs by", written(command))));
    lines.extend(requirement_file.as_ref().map(|file| ("requires", text_file::shown(file))));
    let secrets = manifest.secrets.iter().map(|(key, path)| format!("{} in {}", key.as_str(), text_file::shown(path)));
    lines.extend(joined(secrets).map(|secrets| ("secrets", secrets)));
    if let Some(skills) = skills.as_ref().and_then(Value::as_array) {
        let paths = skills.iter().filter_map(|skill| skill.get("path")?.as_str().map(str::to_owned));
        lines.push(("skills", joined(paths).unwrap_or_else(|| "none".to_owned())));
    }
    let width = lines.iter().map(|(key, _)| key.len()).max().unwrap_or_default();
    lines.iter().map(|(key, value)| format!("{key:width$}  {value}\n")).collect()
}

fn joined(items: impl Iterator<Item = String>) -> Option<String> {
    let items: Vec<String> = items.collect();
    (!items.is_empty()).then(|| items.join(", "))
}

fn launched(launch: &Launch) -> String {
    match launch {
        Launch::File(path) => text_file::shown(path),
        Launch::Module(name) => format!("module {name}"),
        Launch::Command(words) => words.join(" "),
    }
}

fn written(command: &Words) -> String {
    match command {
        Words::Text(text) => text.clone(),
        Words::List(words) => words.join(" "),
    }
}
