//! Which template an application has.

use super::{Application, Bases, Error, Plan, ProviderName};

mod compiled;
mod node;
mod python;
mod scripted;
#[cfg(test)]
mod tests;

/// How the image of an application is made.
///
/// # Errors
///
/// Its ecosystem has no template, a fact is missing without which no image can be made, or a base is not in the map.
pub fn of(app: &Application, bases: &Bases) -> Result<Plan, Error> {
    use ProviderName as Is;
    let Some(provider) = app.provider.value else {
        let hint = "name it: --provider NAME".to_owned();
        return Err(Error::Unknown { what: "the ecosystem", hint });
    };
    let plan = match provider {
        Is::Node => node::plan(app),
        Is::Python => python::plan(app),
        Is::Static => scripted::site(app),
        Is::Shell => scripted::shell(app),
        Is::Deno => scripted::deno(app),
        Is::Php => scripted::php(app),
        Is::Ruby => scripted::ruby(app),
        Is::Elixir => compiled::elixir(app),
        Is::Gleam => compiled::gleam(app),
        Is::Go => compiled::native(app, "go"),
        Is::Rust => compiled::native(app, "rust"),
        Is::Cpp => compiled::native(app, "cpp"),
        Is::Java => compiled::java(app),
        Is::Dotnet => compiled::dotnet(app),
        other => Err(Error::NoTemplate(other.to_string())),
    }?;
    let stages = plan.stages.iter().chain([&plan.image.from]);
    stages.map(|stage| bases.reference(&stage.base)).collect::<Result<Vec<_>, _>>()?;
    Ok(plan)
}
