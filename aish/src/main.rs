//! Talks to the containers of a mesh: one command line for every host.

use std::process::ExitCode;

use aigis_node::LogTap;
use aigis_proxy::trace;
use tracing::{Instrument, level_filters::LevelFilter};

use crate::{
    cli::{Cli, Command, Refusal},
    context::Context,
    exit::{Failure, INTERRUPTED},
    output::{Color, Output},
    signals::Signals,
};

mod ask;
mod bridge;
mod chains;
mod cli;
mod command;
mod completion;
mod config;
mod confirm;
mod context;
mod coordinator;
mod duration;
mod exit;
mod follow;
mod forward;
mod frames;
mod git;
mod issuer;
mod message;
mod model;
mod output;
mod process;
mod quantity;
#[cfg(test)]
mod reference;
mod render;
mod renewal;
mod scratch;
mod signals;
mod state_dir;
mod telemetry;
mod upload;
mod url;
mod values;
mod wrap;

fn main() -> ExitCode {
    // Fails only if one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if completion::answered() {
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<_> = std::env::args_os().collect();
    if wrap::init::is_meant(&arguments) {
        return wrap::init::become_program(&arguments);
    }
    // Before anything is parsed, only the words themselves say which form errors are to have.
    let json = arguments.iter().skip(1).take_while(|word| *word != "--").any(|word| word == "--json");
    let plain = Output::new(json, false, false, Color::Auto);
    let cli = match cli::parse(arguments) {
        Ok(cli) => cli,
        Err(Refusal::Asked(text)) => return finish(plain, plain.text(&text)),
        Err(Refusal::Wrong(failure)) => return finish(plain, Err(failure)),
    };
    let is_node = match &cli.command {
        Command::Up(_) => true,
        Command::Plugins(plugins) => plugins.stays(),
        _ => false,
    };
    // A command waits for one thing at a time; a node serves many.
    let mut builder = if is_node {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return finish(plain, Err(Failure::Output(error))),
    };
    let code = runtime.block_on(run(cli));
    // A thread may still wait for standard input, which may never end.
    runtime.shutdown_background();
    code
}

async fn run(cli: Cli) -> ExitCode {
    let Cli { global, command } = cli;
    let is_node = match &command {
        Command::Up(up) => up.stays(),
        Command::Plugins(plugins) => plugins.stays(),
        _ => false,
    };
    let logs = LogTap::default();
    let level = if is_node { LevelFilter::INFO } else { LevelFilter::WARN };
    let telemetry = telemetry::start(level, is_node.then_some(&logs));
    let context = Context::new(global);
    let mut signals = Signals::take();
    let span = tracing::info_span!("aish", command = command.name());
    // Whoever runs us as a part of something else says so, as it does to any traced program.
    trace::continue_from(&span, std::env::var("TRACEPARENT").ok().as_deref());
    let code = match command {
        // A node, or a program, ends in order, by itself, when a signal comes.
        Command::Up(up) => finish(context.output, Box::pin(up.run(&context, signals, logs)).await),
        Command::Plugins(plugins) if plugins.stays() => {
            finish(context.output, Box::pin(plugins.stay(&context, signals)).await)
        }
        Command::Wrap(wrap) => finish(context.output, Box::pin(wrap.run(&context, signals)).await),
        // A signal to it may mean the chain, or the app.
        Command::Push(push) => {
            let result = tokio::select! {
                result = Box::pin(push.run(&context, signals)).instrument(span) => result,
                error = context.over() => Err(error.into()),
            };
            context.close().await;
            finish(context.output, result)
        }
        command => {
            let result = tokio::select! {
                result = Box::pin(command::run(command, &context)).instrument(span) => Some(result),
                () = signals.any() => {
                    context.interrupted();
                    None
                }
                // Whatever it waits for, nobody answers it any more.
                error = context.over() => Some(Err(error.into())),
            };
            // Whatever was dropped unfinished has left its cancel to be sent.
            context.close().await;
            result.map_or(ExitCode::from(INTERRUPTED), |result| finish(context.output, result))
        }
    };
    telemetry.flush().await;
    code
}

fn finish(output: Output, result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            failure.exit_code()
        }
    }
}
