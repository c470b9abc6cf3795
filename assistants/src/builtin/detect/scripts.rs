//! Apps of languages that run as they are written.

use toml::de::DeTable;

use super::{
    super::python::{BASE, requirements},
    App, Plan, json,
};

pub(super) fn python(app: App<'_>, file: &str) -> Result<Plan, String> {
    let requirements = app.text("requirements.txt");
    let wanted = requirements.as_deref().unwrap_or_default();
    let mut plan = Plan::new(file, "an app of Python", 5000);
    let (port, cmd) = python_command(app, wanted, &mut plan)?;
    plan.port = port;
    plan.cmd = cmd;
    plan.instruct(&[&format!("FROM {BASE}"), "ENV PYTHONUNBUFFERED=True", "WORKDIR /app"]);
    let packages = requirements::apt(wanted);
    if !packages.is_empty() {
        let packages = packages.join(" ");
        plan.instructions.push(format!(
            "RUN apt-get update && apt-get install -y --no-install-recommends {packages} && rm -rf /var/lib/apt/lists/*"
        ));
    }
    plan.instruct(&["COPY . ."]);
    const PIP: &str = "RUN --mount=type=cache,target=/root/.cache/pip pip install";
    if requirements.is_some() {
        plan.found("requirements.txt", "its packages are installed");
        plan.instructions.push(format!("{PIP} -r requirements.txt"));
    } else if app.has("pyproject.toml") {
        plan.found("pyproject.toml", "its packages are installed");
        plan.instructions.push(format!("{PIP} ."));
    }
    Ok(plan)
}

/// What a Python app runs, and on which port.
fn python_command(app: App<'_>, wanted: &str, plan: &mut Plan) -> Result<(u16, Vec<String>), String> {
    let own = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    if app.has("manage.py") {
        plan.found("manage.py", "an app of Django");
        return Ok((8000, own(&["python", "manage.py", "runserver", "0.0.0.0:8000"])));
    }
    let main = app.first(&["__main__.py", "main.py", "app.py", "server.py"]);
    if let Some(main) = main {
        let module = main.trim_end_matches(".py");
        let text = app.text(main).unwrap_or_default();
        plan.found(main, "it is the program");
        let is_served = requirements::asks_for(wanted, "uvicorn") || requirements::asks_for(wanted, "fastapi");
        if is_served && text.contains("app = FastAPI(") && !text.contains("uvicorn.run") {
            plan.found(main, "it is served by uvicorn");
            let target = format!("{module}:app");
            return Ok((8000, own(&["python", "-m", "uvicorn", &target, "--host", "0.0.0.0", "--port", "8000"])));
        }
        if text.contains("import streamlit") {
            plan.found(main, "it is served by streamlit");
            let bound = ["--server.address", "0.0.0.0", "--server.port", "8501"];
            return Ok((8501, own(&[&["python", "-m", "streamlit", "run", main], bound.as_slice()].concat())));
        }
        let is_flask = text.contains("Flask(") && !text.contains(".run(");
        if is_flask {
            plan.found(main, "it is served by flask");
            let bound = ["run", "--host", "0.0.0.0", "--port", "5000"];
            return Ok((5000, own(&[&["python", "-m", "flask", "--app", module], bound.as_slice()].concat())));
        }
        return Ok((5000, own(&["python", main])));
    }
    let program = app.text("pyproject.toml").and_then(|text| {
        let project = DeTable::parse(&text).ok()?;
        let scripts = project.get_ref().get("project")?.get_ref().get("scripts")?.get_ref().as_table()?;
        scripts.keys().next().map(|name| name.get_ref().to_string())
    });
    let program = program.ok_or("it has neither a file __main__.py, main.py or app.py, nor a script")?;
    plan.found("pyproject.toml", format!("its script {program} is the program"));
    Ok((5000, vec![program]))
}

pub(super) fn ruby(app: App<'_>, file: &str) -> Result<Plan, String> {
    let mut plan = Plan::new(file, "an app of Ruby", 3000);
    plan.instruct(&["FROM ruby:3.3", "WORKDIR /app", "COPY . .", r#"RUN ["bundle","install"]"#]);
    if app.has("bin/rails") {
        plan.found("bin/rails", "an app of Rails");
        plan.command(&["bin/rails", "server", "-b", "0.0.0.0", "-p", "3000"]);
    } else if app.has("config.ru") {
        plan.found("config.ru", "it is served by rackup");
        plan.port = 9292;
        plan.command(&["bundle", "exec", "rackup", "--host", "0.0.0.0", "--port", "9292"]);
    } else if let Some(main) = app.first(&["app.rb", "main.rb", "server.rb"]) {
        plan.found(main, "it is the program");
        plan.port = 4567;
        plan.command(&["bundle", "exec", "ruby", main]);
    } else {
        return Err("it has neither bin/rails, nor config.ru, nor a file app.rb".to_owned());
    }
    Ok(plan)
}

pub(super) fn php(app: App<'_>, file: &str) -> Result<Plan, String> {
    let top = app.first(&["public/index.php", "index.php"]).ok_or("it has neither index.php nor public/index.php")?;
    let mut plan = Plan::new(file, "an app of PHP", 8000);
    plan.found(top, "it is served");
    if app.has("composer.json") {
        plan.found("composer.json", "its packages are installed");
        let install = json(&["composer", "install", "--no-dev", "--no-interaction"]);
        plan.instruct(&["FROM composer:2 AS build", "WORKDIR /app", "COPY . .", &format!("RUN {install}")]);
        plan.instruct(&["FROM php:8.3-cli", "WORKDIR /app", "COPY --from=build /app/ ./"]);
    } else {
        plan.instruct(&["FROM php:8.3-cli", "WORKDIR /app", "COPY . ."]);
    }
    let directory = top.rsplit_once('/').map_or(".", |(directory, _)| directory);
    plan.command(&["php", "-S", "0.0.0.0:8000", "-t", directory]);
    Ok(plan)
}
