//! Turns layer tars, lowest first, into an EROFS image: `layers-to-erofs OUT LAYER…`.

use std::{fs::File, process::ExitCode, time::Instant};

use hearth_erofs::{Builder, Limits};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((output, layers)) = arguments.split_first() else {
        eprintln!("usage: layers-to-erofs OUT LAYER…");
        return ExitCode::from(2);
    };
    match build(output, layers) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut cause = Some(&*error as &dyn std::error::Error);
            while let Some(error) = cause {
                eprintln!("{error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn build(output: &str, layers: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let started = Instant::now();
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(output)?;
    let mut builder = Builder::create(file, Limits::default())?;
    for path in layers {
        println!("{:?}", builder.apply_layer(path, File::open(path)?, &mut |_| {})?);
    }
    println!("{:?} in {:?}", builder.finish()?, started.elapsed());
    Ok(())
}
