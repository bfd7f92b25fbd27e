//! x
mod exit;
mod verify;
use clap::Parser;
#[derive(Parser)]
enum C {
    Verify(verify::VerifyArgs),
}
fn main() -> anyhow::Result<()> {
    let C::Verify(a) = C::parse();
    let e = verify::run(&a)?;
    println!("{e:?}");
    Ok(())
}
