//! Ruby.

mod gemfile;

use gemfile::Gemfile;

use crate::{
    code::{Code, Syntax},
    fact::{Application, Evidence, Fact, MODEL, ProviderName},
    provider::{
        Candidate, Provider,
        dir::{Dir, holding, known, runtime},
        needs, tools, version,
    },
    tree::Tree,
    words::quoted,
};

/// Ruby, with Bundler.
#[derive(Debug)]
pub(crate) struct Ruby;

/// Files that start something, the likeliest first.
const ENTRIES: [&str; 6] = ["app.rb", "main.rb", "server.rb", "web.rb", "bot.rb", "run.rb"];
/// Frameworks: the gem, what shows that it is used, in which files, its port.
const FRAMEWORKS: [(&str, &str, &[&str], u16); 5] = [
    ("rails", "Rails", &["config/application.rb", "config/environment.rb"], 3000),
    ("hanami", "Hanami", &["config/app.rb", "config.ru"], 2300),
    ("sinatra", "Sinatra", &["app.rb", "config.ru", "main.rb", "server.rb", "web.rb"], 4567),
    ("roda", "Roda", &["app.rb", "config.ru"], 9292),
    ("grape", "Grape", &["app.rb", "config.ru", "api.rb"], 9292),
];
/// Where rackup listens.
const RACK_PORT: u16 = 9292;
/// How what rackup reads is started by the servers of gems; `{}` is the port.
const RACK: [(&str, &str); 5] = [
    ("puma", "puma -b tcp://0.0.0.0:{} config.ru"),
    ("falcon", "falcon serve --bind http://0.0.0.0:{}"),
    ("unicorn", "unicorn -o 0.0.0.0 -p {} config.ru"),
    ("thin", "thin start -a 0.0.0.0 -p {} -R config.ru"),
    ("passenger", "passenger start --address 0.0.0.0 --port {}"),
];
/// The same where no gem is a server of its own.
const RACKUP: &str = "rackup --host 0.0.0.0 -p {} config.ru";

impl Provider for Ruby {
    fn name(&self) -> ProviderName {
        ProviderName::Ruby
    }

    fn entries(&self) -> &'static [&'static str] {
        &[".rb"]
    }

    #[cfg(test)]
    fn frameworks(&self) -> Vec<&'static str> {
        FRAMEWORKS.iter().map(|(name, ..)| *name).collect()
    }

    fn looks_for(&self) -> &'static str {
        "Gemfile, config.ru, app.rb"
    }

    fn candidates(&self, tree: &Tree) -> Vec<Candidate> {
        let named = |name: &str| matches!(name, "Gemfile" | "config.ru") || ENTRIES.contains(&name);
        holding(tree, named).into_keys().filter_map(|root| candidate(Dir::of(tree, root))).collect()
    }

    fn application(&self, tree: &Tree, chosen: &Candidate) -> Application {
        let dir = Dir::of(tree, &chosen.root);
        let mut app = Application::of(ProviderName::Ruby, chosen);
        let gems = Gemfile::read(dir);
        ruby_version(&mut app, dir, &gems, chosen);
        if let Some((name, _, evidence)) = framework(dir, &gems) {
            app.framework = known(name.to_owned(), "ruby.framework", evidence);
        }
        if let Some(at) = dir.seen("Gemfile").or_else(|| dir.seen("Gemfile.lock")) {
            let managed = dir.locked_by("Gemfile.lock");
            app.package_manager = known("bundler".to_owned(), "ruby.gemfile", vec![at.clone()]).with(managed);
            // Nothing of a project without gems is installed, and Bundler makes no place for it.
            if !gems.is_empty() {
                app.install = known(vec!["bundle install".to_owned()], "ruby.gemfile", vec![at]);
                app.details.dependency_files = dependency_files(dir, &gems);
            }
        }
        needs::add(&mut app, ProviderName::Ruby, gems.dependencies(dir));
        start(&mut app, dir, &gems, chosen.wanted.as_deref());
        app
    }
}

fn candidate(dir: Dir<'_>) -> Option<Candidate> {
    let entry = dir.first(&["config.ru"]).or_else(|| dir.first(&ENTRIES));
    if !dir.has("Gemfile") {
        let file = entry.filter(|_| dir.upwards(&["Gemfile"]).is_none())?;
        return Some(Candidate::new(dir.root(), 45, "ruby.source", vec![dir.seen(file)?]).with_entry(true));
    }
    let gems = Gemfile::read(dir);
    let mut evidence: Vec<Evidence> = dir.seen("Gemfile").into_iter().collect();
    let framework = framework(dir, &gems);
    let (score, rule) = match (&framework, entry) {
        (Some((_, _, found)), _) => {
            evidence.extend(found.iter().cloned());
            (80, "ruby.framework")
        }
        (None, Some(entry)) => {
            evidence.extend(dir.seen(entry));
            (70, "ruby.gemfile")
        }
        (None, None) => (60, "ruby.gemfile"),
    };
    let entry = entry.is_some() || framework.is_some();
    (!evidence.is_empty()).then(|| Candidate::new(dir.root(), score, rule, evidence).with_entry(entry))
}

/// The framework that a gem and a file prove: its name, its port, and where.
fn framework(dir: Dir<'_>, gems: &Gemfile) -> Option<(&'static str, u16, Vec<Evidence>)> {
    FRAMEWORKS.iter().find_map(|(gem, word, files, port)| {
        let asked = gems.gem(dir, gem)?;
        let used = files.iter().find_map(|file| {
            let code = Code::of(dir.text(file)?, Syntax::Hash);
            let required = code
                .plain()
                .find(&format!("require \"{gem}"))
                .or_else(|| code.plain().find(&format!("require '{gem}")));
            let at = code.word(word).or(required)?;
            Some(dir.at(file, code.line(at)))
        })?;
        Some((*gem, *port, vec![asked, used]))
    })
}

/// A version that the Gemfile pins to its last number is checked by Bundler, and kept whole for that.
fn ruby_version(app: &mut Application, dir: Dir<'_>, gems: &Gemfile, chosen: &Candidate) {
    let pinned = gems.ruby.as_ref().filter(|(version, _)| {
        version.matches('.').count() == 2 && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    });
    let in_gemfile =
        gems.ruby.as_ref().map(|(version, line)| (version.clone(), "ruby.gemfile", dir.at("Gemfile", *line)));
    let asked = tools::asked(dir, "ruby").or(in_gemfile).or_else(|| gemfile::locked_version(dir));
    runtime(app, "ruby", asked, chosen);
    if let (Some((version, _)), Some(line)) = (pinned, &mut app.runtime.value)
        && version::choose("ruby", version).version == *line
    {
        line.clone_from(version);
    }
}

fn start(app: &mut Application, dir: Dir<'_>, gems: &Gemfile, wanted: Option<&str>) {
    let framework = framework(dir, gems);
    let bundle = if gems.is_empty() { "" } else { "bundle exec " };
    let (command, rule, port, evidence) = match &framework {
        Some(("rails", port, evidence)) => {
            (format!("{bundle}rails server -b 0.0.0.0 -p {port}"), "ruby.rails", Some(*port), evidence.clone())
        }
        _ if dir.has("config.ru") => {
            let server =
                RACK.iter().find(|(gem, _)| gems.gem(dir, gem).is_some()).map_or(RACKUP, |(_, server)| *server);
            let server = format!("{bundle}{}", server.replace("{}", &RACK_PORT.to_string()));
            (server, "ruby.rack", Some(RACK_PORT), dir.seen("config.ru").into_iter().collect())
        }
        _ => {
            let named = dir.first(&ENTRIES).map(|file| (file, "ruby.main"));
            let wanted = || Some((wanted.filter(|file| dir.has(file) && file.ends_with(".rb"))?, MODEL));
            let Some((file, rule)) = named.or_else(wanted) else { return };
            let port = framework.as_ref().map(|(_, port, _)| *port);
            (format!("{bundle}ruby {}", quoted(file)), rule, port, dir.seen(file).into_iter().collect())
        }
    };
    if evidence.is_empty() {
        return;
    }
    app.start = Fact::command(&command, rule, evidence.clone());
    app.port = port.map(|port| known(port, "ruby.framework-port", evidence)).unwrap_or_default();
    if framework.as_ref().is_some_and(|(name, ..)| *name == "rails") {
        app.writable = ["log", "storage", "tmp"].map(str::to_owned).to_vec();
        let assets = dir.below().find(|path| path.starts_with("app/assets/") && dir.seen(path).is_some());
        if let Some(at) = assets.and_then(|path| dir.seen(path)) {
            let build = "env RAILS_ENV=production SECRET_KEY_BASE_DUMMY=1 bundle exec rails assets:precompile";
            app.build = known(vec![build.to_owned()], "ruby.assets", vec![at]);
        }
    }
}

/// The Gemfile, its lock file, and all of the gems that stand in the tree themselves.
fn dependency_files(dir: Dir<'_>, gems: &Gemfile) -> Vec<String> {
    let named = ["Gemfile", "Gemfile.lock", ".ruby-version", ".tool-versions"].into_iter().filter(|file| dir.has(file));
    let mut files: Vec<String> = named.map(str::to_owned).collect();
    files.extend(dir.names().filter(|file| file.ends_with(".gemspec")).map(str::to_owned));
    for path in &gems.paths {
        files.extend(dir.below().filter(|file| file.starts_with(&format!("{path}/"))).map(str::to_owned));
    }
    files
}
