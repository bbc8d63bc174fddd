//! `cargo measure`: what a query costs, as ratios within one run. Figures of different runs or machines say nothing about
//! each other; nothing here fails because a machine is slow.

mod figures;
mod flight;
mod overhead;
mod payload;
mod planning;
mod provider;
mod sums;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Deep plans are walked by recursion; unoptimised builds need more than the usual 2 MiB for it.
const STACK_BYTES: usize = 16 << 20;

/// Measures a federation on this machine. Without a subcommand: all of it, at a small scale.
#[derive(Debug, Parser)]
#[command(name = "measure")]
struct Arguments {
    #[command(subcommand)]
    what: Option<Measurement>,
}

#[derive(Debug, Subcommand)]
enum Measurement {
    /// Bytes that the wage question moves between places when it is computed beside the data.
    Payload,
    /// The wage question over 250 000 joined rows through the compute provider: time, and peak memory of every process.
    Provider {
        /// Rounds; medians are printed.
        #[arg(long, default_value_t = 7)]
        rounds: usize,
    },
    /// From a query's text to its permit, for federations of growing size; and the search for the nearest allowed query.
    Planning {
        /// Plans of each query; medians and the slowest hundredth are printed.
        #[arg(long, default_value_t = 40)]
        rounds: usize,
    },
    /// Rows from a site to a client against a plain Flight server, with and without TLS.
    Flight {
        /// Rounds; medians are printed.
        #[arg(long, default_value_t = 7)]
        rounds: usize,
    },
    /// Exact sums of doubles against the engine's own.
    Sums {
        /// Rounds; medians are printed.
        #[arg(long, default_value_t = 7)]
        rounds: usize,
    },
    /// The 22 TPC-H queries over three sites against one engine over the same files.
    Overhead {
        /// Scale factor.
        #[arg(long, default_value_t = 0.05)]
        factor: f64,
        /// Rounds; medians are printed.
        #[arg(long, default_value_t = 7)]
        rounds: usize,
    },
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_stack_size(STACK_BYTES).enable_all().build();
    let ended = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run()));
    ended.unwrap_or_else(|error| dynamos_cli::command::report(&error))
}

async fn run() -> anyhow::Result<ExitCode> {
    // A federation of processes starts its own program once for each role.
    if matches!(std::env::args().nth(1).as_deref(), Some("coordinator" | "site")) {
        return dynamos_cli::command::Command::parse().run().await;
    }
    figures::say(&figures::machine())?;
    match Arguments::parse().what {
        Some(Measurement::Payload) => payload::run().await?,
        Some(Measurement::Provider { rounds }) => provider::run(rounds).await?,
        Some(Measurement::Planning { rounds }) => planning::run(rounds)?,
        Some(Measurement::Flight { rounds }) => flight::run(rounds).await?,
        Some(Measurement::Sums { rounds }) => sums::run(rounds).await?,
        Some(Measurement::Overhead { factor, rounds }) => overhead::run(factor, rounds).await?,
        None => {
            payload::run().await?;
            planning::run(10)?;
            provider::run(3).await?;
            flight::run(3).await?;
            sums::run(3).await?;
            overhead::run(0.05, 3).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
