//! What an application can be: the frameworks that are known, by provider.

use crate::fact::ProviderName::{self, *};

/// Taken as it is: no provider looks at it.
const FILES: &str = "files";

/// Frameworks with those whose they are, the usual one first.
const FRAMEWORKS: [(&str, &[ProviderName]); 137] = [
    ("actix-web", &[Rust]),
    ("adonis", &[Node]),
    ("aiohttp", &[Python]),
    ("aleph", &[Deno]),
    ("analog", &[Node]),
    ("angular", &[Node]),
    ("apollo", &[Node]),
    ("aspnet", &[Dotnet]),
    ("astro", &[Node, Deno]),
    ("axum", &[Rust]),
    ("beego", &[Go]),
    ("blacksheep", &[Python]),
    ("blazor", &[Dotnet]),
    ("blitz", &[Node]),
    ("bottle", &[Python]),
    ("buffalo", &[Go]),
    ("cakephp", &[Php]),
    ("chalice", &[Python]),
    ("chi", &[Go]),
    ("codeigniter", &[Php]),
    ("connexion", &[Python]),
    ("cra", &[Node]),
    ("dash", &[Python]),
    ("django", &[Python]),
    ("docusaurus", &[Node]),
    ("dropwizard", &[Java]),
    ("drupal", &[Php]),
    ("echo", &[Go]),
    ("eleventy", &[Node]),
    ("elysia", &[Node]),
    ("ember", &[Node]),
    ("expo", &[Node]),
    ("express", &[Node, Deno]),
    ("falcon", &[Python]),
    ("fastapi", &[Python]),
    ("fasthtml", &[Python]),
    ("fastify", &[Node]),
    ("feathers", &[Node]),
    ("fiber", &[Go]),
    ("flask", &[Python]),
    ("fresh", &[Deno]),
    ("gatsby", &[Node]),
    ("gin", &[Go]),
    ("go-zero", &[Go]),
    ("gotham", &[Rust]),
    ("gradio", &[Python]),
    ("grape", &[Ruby]),
    ("graphql-yoga", &[Node]),
    ("h3", &[Node]),
    ("hanami", &[Ruby]),
    ("hapi", &[Node]),
    ("helidon", &[Java]),
    ("hertz", &[Go]),
    ("hexo", &[Node]),
    ("hono", &[Node, Deno]),
    ("hugo", &[Static, Go]),
    ("hyper", &[Rust]),
    ("hyper-express", &[Node]),
    ("iris", &[Go]),
    ("javalin", &[Java]),
    ("jekyll", &[Ruby]),
    ("keystone", &[Node]),
    ("koa", &[Node]),
    ("ktor", &[Java]),
    ("laravel", &[Php]),
    ("litestar", &[Python]),
    ("loco-rs", &[Rust]),
    ("loopback", &[Node]),
    ("lume", &[Deno]),
    ("lumen", &[Php]),
    ("lustre", &[Gleam]),
    ("medusa", &[Node]),
    ("micro", &[Node]),
    ("micronaut", &[Java]),
    ("mkdocs", &[Python]),
    ("moleculer", &[Node]),
    ("nestjs", &[Node]),
    ("next", &[Node]),
    ("nicegui", &[Python]),
    ("nitro", &[Node]),
    ("ntex", &[Rust]),
    ("nuxt", &[Node]),
    ("oak", &[Deno]),
    ("panel", &[Python]),
    ("parcel", &[Node]),
    ("phoenix", &[Elixir]),
    ("poem", &[Rust]),
    ("polka", &[Node]),
    ("preact", &[Node]),
    ("preact-cli", &[Node]),
    ("probot", &[Node]),
    ("pyramid", &[Python]),
    ("quarkus", &[Java]),
    ("quart", &[Python]),
    ("qwik", &[Node]),
    ("qwik-city", &[Node]),
    ("rack", &[Ruby]),
    ("rails", &[Ruby]),
    ("react", &[Node]),
    ("react-router", &[Node]),
    ("redwood", &[Node]),
    ("remix", &[Node]),
    ("restify", &[Node]),
    ("revel", &[Go]),
    ("rocket", &[Rust]),
    ("roda", &[Ruby]),
    ("rsbuild", &[Node]),
    ("sails", &[Node]),
    ("salvo", &[Rust]),
    ("sanic", &[Python]),
    ("sinatra", &[Ruby]),
    ("slim", &[Php]),
    ("socket.io", &[Node]),
    ("solid-start", &[Node]),
    ("spring-boot", &[Java]),
    ("starlette", &[Python]),
    ("strapi", &[Node]),
    ("streamlit", &[Python]),
    ("svelte", &[Node]),
    ("sveltekit", &[Node]),
    ("symfony", &[Php]),
    ("tanstack-start", &[Node]),
    ("tide", &[Rust]),
    ("tonic", &[Rust]),
    ("tornado", &[Python]),
    ("total", &[Node]),
    ("umi", &[Node]),
    ("vertx", &[Java]),
    ("vite", &[Node, Deno]),
    ("vitepress", &[Node]),
    ("vue", &[Node]),
    ("vue-cli", &[Node]),
    ("vuepress", &[Node]),
    ("warp", &[Rust]),
    ("wisp", &[Gleam]),
    ("wordpress", &[Php]),
    ("yii", &[Php]),
];

/// Every provider.
const LANGUAGES: [ProviderName; 24] = [
    Clojure, Cobol, Cpp, Crystal, Dart, Deno, Dockerfile, Dotnet, Elixir, Gleam, Go, Haskell, Java, Node, Php, Python,
    Ruby, Rust, Scala, Scheme, Shell, Static, Swift, Zig,
];

/// The provider of that name.
pub(super) fn language(word: &str) -> Option<ProviderName> {
    word.parse().ok()
}

/// The names of all providers.
pub(super) fn languages() -> impl Iterator<Item = &'static str> {
    static NAMES: std::sync::LazyLock<Vec<String>> =
        std::sync::LazyLock::new(|| LANGUAGES.iter().map(ToString::to_string).collect());
    NAMES.iter().map(String::as_str)
}

/// Every type.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    FRAMEWORKS.iter().map(|(name, _)| *name).chain(languages()).chain([FILES])
}

/// Whether an application can be of that type.
#[must_use]
pub fn is_kind(word: &str) -> bool {
    word == FILES || !providers(word).is_empty()
}

/// Those that know a type, the usual one first; none knows `files`.
#[must_use]
pub fn providers(kind: &str) -> Vec<ProviderName> {
    match language(kind) {
        Some(provider) => vec![provider],
        None => FRAMEWORKS.iter().find(|(name, _)| *name == kind).map(|(_, of)| of.to_vec()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_in_order_and_know_every_provider() {
        assert!(FRAMEWORKS.is_sorted_by(|(a, _), (b, _)| a < b));
        for name in languages() {
            assert_eq!(providers(name), [language(name).unwrap()]);
        }
        assert!(is_kind("files") && providers("files").is_empty());
        assert_eq!(providers("fastapi"), [Python]);
        assert!(!is_kind("fastapy"));
    }

    #[test]
    fn every_framework_that_an_analysis_can_name_is_a_type() {
        let named =
            || crate::provider::ALL.iter().flat_map(|one| one.frameworks().into_iter().map(|name| (name, one.name())));
        let missing: Vec<_> = named().filter(|(name, provider)| !providers(name).contains(provider)).collect();
        assert_eq!(missing, []);
        assert!(named().count() > 100, "only {} are named", named().count());
    }
}
