//! Elixir.

use crate::{
    code::{Code, Syntax, is_word},
    fact::{Application, Evidence, Fact, ProviderName},
    provider::{
        Candidate, Provider,
        dir::{Dir, holding, known, runtime},
        needs, tools,
    },
    tree::Tree,
};

/// Elixir, with Mix and releases.
#[derive(Debug)]
pub(crate) struct Elixir;

const MANIFEST: &str = "mix.exs";
const LOCK: &str = "mix.lock";
/// Where Phoenix listens.
const PORT: u16 = 4000;

/// What a `mix.exs` says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mix {
    /// The name of the application, and its line.
    app: Option<(String, u64)>,
    /// The first release.
    release: Option<String>,
    /// The version of Elixir, and its line.
    elixir: Option<(String, u64)>,
    /// What it asks for, with lines.
    dependencies: Vec<(String, u64)>,
    /// The line of an alias that builds assets for running.
    assets: Option<u64>,
}

impl Mix {
    fn parse(text: &str) -> Self {
        let code = Code::of(text, Syntax::Hash);
        let mut mix = Self::default();
        let value = |key: &str| {
            let at = code
                .bare()
                .find(key)
                .filter(|at| !code.bare().get(..*at).is_some_and(|before| before.ends_with(is_word)))?;
            Some((at, code.bare().get(at + key.len()..)?.trim_start()))
        };
        let atom = |text: &str| {
            let name: String = text.strip_prefix(':')?.chars().take_while(|c| is_word(*c)).collect();
            (!name.is_empty()).then_some(name)
        };
        mix.app = value("app:").and_then(|(at, rest)| Some((atom(rest)?, code.line(at))));
        mix.elixir = value("elixir:").and_then(|(at, _)| Some((code.string_from(at)?.0.to_owned(), code.line(at))));
        mix.release = value("releases:").and_then(|(_, rest)| {
            let name: String = rest.strip_prefix('[')?.trim_start().chars().take_while(|c| is_word(*c)).collect();
            (!name.is_empty()).then_some(name)
        });
        mix.assets = code.plain().find("\"assets.deploy\"").map(|at| code.line(at));
        // `{:name, …}` stands for what is asked for.
        for (at, _) in code.bare().match_indices("{:") {
            let rest = code.bare().get(at + 1..).unwrap_or_default();
            if let Some(name) =
                atom(rest).filter(|name| rest.get(name.len() + 1..).unwrap_or_default().trim_start().starts_with(','))
            {
                mix.dependencies.push((name, code.line(at)));
            }
        }
        mix
    }

    fn dependency(&self, dir: Dir<'_>, name: &str) -> Option<Evidence> {
        let (_, line) = self.dependencies.iter().find(|(known, _)| known == name)?;
        Some(dir.at(MANIFEST, *line))
    }
}

impl Provider for Elixir {
    fn name(&self) -> ProviderName {
        ProviderName::Elixir
    }

    #[cfg(test)]
    fn frameworks(&self) -> Vec<&'static str> {
        vec!["phoenix"]
    }

    fn looks_for(&self) -> &'static str {
        MANIFEST
    }

    fn candidates(&self, tree: &Tree) -> Vec<Candidate> {
        holding(tree, |name| name == MANIFEST).into_keys().filter_map(|root| candidate(Dir::of(tree, root))).collect()
    }

    fn application(&self, tree: &Tree, chosen: &Candidate) -> Application {
        let dir = Dir::of(tree, &chosen.root);
        let mut app = Application::of(ProviderName::Elixir, chosen);
        let mix = Mix::parse(dir.text(MANIFEST).unwrap_or_default());
        let in_manifest =
            mix.elixir.as_ref().map(|(asked, line)| (asked.clone(), "elixir.mix", dir.at(MANIFEST, *line)));
        runtime(&mut app, "elixir", tools::asked(dir, "elixir").or(in_manifest), chosen);
        let managed = dir.locked_by(LOCK);
        let manifest: Vec<Evidence> = dir.seen(MANIFEST).into_iter().collect();
        app.package_manager = known("mix".to_owned(), "elixir.mix", manifest.clone()).with(managed);
        let install = ["mix local.hex --force", "mix local.rebar --force", "mix deps.get --only prod"];
        app.install = known(install.map(str::to_owned).to_vec(), "elixir.mix", manifest.clone());
        app.details.dependency_files =
            [MANIFEST, LOCK].into_iter().filter(|file| dir.has(file)).map(str::to_owned).collect();
        needs::add(
            &mut app,
            ProviderName::Elixir,
            mix.dependencies.iter().map(|(name, line)| (name.clone(), dir.at(MANIFEST, *line))),
        );
        let phoenix = phoenix(dir, &mix);
        let name = mix.app.as_ref().map(|(name, _)| name.clone());
        if let Some(release) = mix.release.clone().or_else(|| name.clone()) {
            let mut build = vec!["mix compile".to_owned()];
            build.extend(mix.assets.map(|_| "mix assets.deploy".to_owned()));
            build.push(match &mix.release {
                Some(release) => format!("mix release {release} --overwrite"),
                None => "mix release --overwrite".to_owned(),
            });
            let evidence: Vec<Evidence> = mix.app.iter().map(|(_, line)| dir.at(MANIFEST, *line)).collect();
            let evidence = if evidence.is_empty() { manifest } else { evidence };
            app.build = known(build, "elixir.release", evidence.clone());
            // A release of Phoenix listens only where it is told to.
            let told = if phoenix.is_some() { "PHX_SERVER=true " } else { "" };
            let command = format!("{told}/app/_build/prod/rel/{release}/bin/{release} start");
            app.start = Fact::command(&command, "elixir.release", evidence);
            app.details.artifact = Some(format!("_build/prod/rel/{release}"));
        }
        app.details.project_name = name;
        if let Some(evidence) = phoenix {
            app.framework = known("phoenix".to_owned(), "elixir.phoenix", evidence.clone());
            app.port = known(PORT, "elixir.phoenix", evidence);
        } else if let Some((port, at)) = plug_port(dir, &mix) {
            app.port = known(port, "elixir.plug", vec![at]);
        }
        app
    }
}

fn candidate(dir: Dir<'_>) -> Option<Candidate> {
    let mix = Mix::parse(dir.text(MANIFEST)?);
    let mut evidence: Vec<Evidence> = dir.seen(MANIFEST).into_iter().collect();
    let (score, rule, entry) = match (phoenix(dir, &mix), &mix.app) {
        (Some(found), _) => {
            evidence.extend(found);
            (80, "elixir.phoenix", true)
        }
        (None, Some((_, line))) => {
            evidence.push(dir.at(MANIFEST, *line));
            (70, "elixir.mix", true)
        }
        (None, None) => (60, "elixir.mix", false),
    };
    (!evidence.is_empty()).then(|| Candidate::new(dir.root(), score, rule, evidence).with_entry(entry))
}

/// Where Phoenix is asked for, and where an endpoint of it stands.
fn phoenix(dir: Dir<'_>, mix: &Mix) -> Option<Vec<Evidence>> {
    let asked = mix.dependency(dir, "phoenix")?;
    let used = dir.sources(&[".ex"]).into_iter().find_map(|file| {
        let code = Code::of(dir.text(file).filter(|text| text.contains("Phoenix.Endpoint"))?, Syntax::Hash);
        Some(dir.at(file, code.line(code.word("Phoenix.Endpoint")?)))
    })?;
    Some(vec![asked, used])
}

/// The port that a server of Plug is given: `{Plug.Cowboy, port: 4000, …}`, `{Bandit, port: 4000}`.
fn plug_port(dir: Dir<'_>, mix: &Mix) -> Option<(u16, Evidence)> {
    let servers = [("plug_cowboy", "Plug.Cowboy"), ("bandit", "Bandit")];
    let (_, module) = servers.into_iter().find(|(name, _)| mix.dependency(dir, name).is_some())?;
    dir.sources(&[".ex", ".exs"]).into_iter().find_map(|file| {
        let code = Code::of(dir.text(file)?, Syntax::Hash);
        let at = code.word(module)?;
        let rest = code.bare().get(at..)?;
        let inside = rest.split('}').next()?;
        let digits = inside.split("port:").nth(1)?.trim_start();
        let port: String = digits.chars().take_while(char::is_ascii_digit).collect();
        Some((port.parse().ok().filter(|port| *port > 0)?, dir.at(file, code.line(at))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pkg_09_what_a_mix_file_says() {
        let mix = Mix::parse(
            "defmodule A do\n  def project do\n [\n app: :shop,\n elixir: \"~> 1.15\",\n elixirc_paths: x,\n\
             releases: [\n prod: [a: 1]]\n ]\n end\n # {:no, \"1\"}\n {:phoenix, \"~> 1.7\"},\n {:plug,\n git: 1}\n\
             mod: {Shop.Application, []}\n",
        );
        assert_eq!((mix.app, mix.elixir), (Some(("shop".into(), 4)), Some(("~> 1.15".into(), 5))));
        assert_eq!(mix.release.as_deref(), Some("prod"));
        assert_eq!(mix.dependencies, [("phoenix".to_owned(), 12), ("plug".to_owned(), 13)]);
    }
}
