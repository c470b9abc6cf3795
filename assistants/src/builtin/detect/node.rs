//! Apps of JavaScript, and sites without a server of their own.

use serde_json::Value;

use super::{App, Plan};

/// What is called as a program of an app's own, in the order in which it counts.
const MAINS: [&str; 6] = ["server.js", "index.js", "app.js", "main.js", "src/index.js", "src/server.js"];

/// How packages are installed by a lock file: the file, the tool, and the instructions.
const LOCKS: [(&str, &str, &[&str]); 5] = [
    ("bun.lock", "bun", &[r#"RUN ["bun","install","--frozen-lockfile"]"#]),
    ("bun.lockb", "bun", &[r#"RUN ["bun","install","--frozen-lockfile"]"#]),
    (
        "pnpm-lock.yaml",
        "pnpm",
        &[r#"RUN ["npm","install","--global","pnpm"]"#, r#"RUN ["pnpm","install","--frozen-lockfile"]"#],
    ),
    ("yarn.lock", "yarn", &[r#"RUN ["yarn","install","--frozen-lockfile"]"#]),
    ("package-lock.json", "npm", &["RUN --mount=type=cache,target=/root/.npm npm ci"]),
];

pub(super) fn node(app: App<'_>, file: &str) -> Result<Plan, String> {
    let text = app.text(file).unwrap_or_default();
    let package: Value = serde_json::from_str(&text).map_err(|error| format!("it is no JSON: {error}"))?;
    let script = |name: &str| package.pointer(&format!("/scripts/{name}")).and_then(Value::as_str);
    let mut plan = Plan::new(file, "an app of JavaScript", 3000);

    let lock = LOCKS.iter().find(|(lock, _, _)| app.has(lock));
    let tool = lock.map_or("npm", |(_, tool, _)| tool);
    let base = if tool == "bun" { "FROM oven/bun:1" } else { "FROM node:22-slim" };
    plan.instruct(&[base, "WORKDIR /app", "COPY . ."]);
    match lock {
        Some((lock, tool, install)) => {
            plan.found(lock, format!("packages are installed by {tool}"));
            plan.instruct(install);
        }
        None => plan.instruct(&["RUN --mount=type=cache,target=/root/.npm npm install"]),
    }
    if script("build").is_some() {
        plan.found(file, "its script build is run");
        plan.instructions.push(format!("RUN {}", super::json(&[tool, "run", "build"])));
    }

    let main = package.get("main").and_then(Value::as_str).filter(|main| app.has(main));
    let runner = if tool == "bun" { "bun" } else { "node" };
    if script("start").is_some() {
        plan.found(file, "its script start is the command");
        plan.command(&[tool, "run", "start"]);
    } else if let Some(main) = main.or_else(|| app.first(&MAINS)) {
        plan.found(main, "it is the program");
        plan.command(&[runner, main]);
    } else if let Some(main) = app.first(&["index.ts", "src/index.ts"]).filter(|_| tool == "bun") {
        plan.found(main, "it is the program");
        plan.command(&["bun", "run", main]);
    } else {
        return Err("it has neither a script start, nor a main, nor a file index.js".to_owned());
    }
    Ok(plan)
}

pub(super) fn deno(app: App<'_>, file: &str) -> Result<Plan, String> {
    let text = app.text(file).unwrap_or_default();
    let has_start = serde_json::from_str::<Value>(&text).is_ok_and(|deno| deno.pointer("/tasks/start").is_some());
    let mut plan = Plan::new(file, "an app of Deno", 8000);
    plan.instruct(&["FROM denoland/deno:2.1.4", "WORKDIR /app", "COPY . ."]);
    if has_start {
        plan.found(file, "its task start is the command");
        plan.command(&["deno", "task", "start"]);
    } else if let Some(main) = app.first(&["main.ts", "server.ts", "main.js", "mod.ts"]) {
        plan.found(main, "it is the program");
        plan.command(&["deno", "run", "--allow-net", "--allow-env", "--allow-read", main]);
    } else {
        return Err("it has neither a task start nor a file main.ts".to_owned());
    }
    Ok(plan)
}

/// A site is served as it is.
#[expect(clippy::unnecessary_wraps, reason = "it is a rule like the others")]
pub(super) fn site(_: App<'_>, file: &str) -> Result<Plan, String> {
    let mut plan = Plan::new(file, "a static site", 8080);
    let copy = match file.rsplit_once('/') {
        Some((directory, _)) => format!("COPY {directory}/ /site/"),
        None => "COPY . /site/".to_owned(),
    };
    plan.instruct(&["FROM busybox", &copy]);
    plan.command(&["httpd", "-f", "-v", "-p", "8080", "-h", "/site"]);
    Ok(plan)
}
