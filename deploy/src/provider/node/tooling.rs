//! Packages that format, lint and test: whoever has these alone has no application.

/// Whole names.
const NAMES: [&str; 44] = [
    "prettier",
    "eslint",
    "stylelint",
    "husky",
    "lint-staged",
    "commitlint",
    "commitizen",
    "standard",
    "xo",
    "jshint",
    "jest",
    "ts-jest",
    "babel-jest",
    "vitest",
    "mocha",
    "chai",
    "sinon",
    "nyc",
    "c8",
    "cypress",
    "playwright",
    "puppeteer",
    "typescript",
    "semantic-release",
    "release-it",
    "markdownlint",
    "markdownlint-cli",
    "markdownlint-cli2",
    "biome",
    "rome",
    "oxlint",
    "dprint",
    "cspell",
    "pyright",
    "concurrently",
    "npm-run-all",
    "turbo",
    "lerna",
    "rimraf",
    "cross-env",
    "simple-git-hooks",
    "lefthook",
    "knip",
    "pre-commit",
];
/// What names begin with.
const STARTS: [&str; 17] = [
    "prettier-",
    "@prettier/",
    "eslint-",
    "@eslint/",
    "@typescript-eslint/",
    "typescript-eslint",
    "stylelint-",
    "@commitlint/",
    "cz-",
    "@jest/",
    "@vitest/",
    "@types/",
    "@playwright/",
    "@semantic-release/",
    "@changesets/",
    "@biomejs/",
    "@testing-library/",
];
/// What bundles, which is to build.
const BUNDLERS: [&str; 15] = [
    "vite",
    "webpack",
    "rollup",
    "esbuild",
    "parcel",
    "parcel-bundler",
    "browserify",
    "gulp",
    "grunt",
    "laravel-mix",
    "laravel-vite-plugin",
    "@symfony/webpack-encore",
    "tailwindcss",
    "@tailwindcss/cli",
    "rolldown",
];

/// Whether a package is a tool of developers.
pub(super) fn is_tool(name: &str) -> bool {
    NAMES.contains(&name) || STARTS.iter().any(|start| name.starts_with(start))
}

/// Whether a package makes files out of others.
pub(super) fn is_bundler(name: &str) -> bool {
    BUNDLERS.contains(&name)
}
