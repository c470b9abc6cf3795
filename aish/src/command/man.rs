use std::path::{Path, PathBuf};

use aigis_proxy::Error;
use clap_mangen::Man as Page;

use crate::{cli, context::Context, exit::Failure};

/// Print the manual page, or write one for each command
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// Where to write aish.1, aish-list.1 and so on; printed if not given
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let mut parser = cli::parser().subcommand(cli::message_parser("CI"));
        parser.build();
        match self.dir {
            None => {
                let mut page = Vec::new();
                Page::new(parser).render(&mut page)?;
                context.output.bytes(&page)
            }
            Some(directory) => write(&directory, parser),
        }
    }
}

fn write(directory: &Path, parser: clap::Command) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Error::precondition(format!("{}: {error}", directory.display()));
    std::fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(parser, directory).map_err(failed)?;
    Ok(())
}
