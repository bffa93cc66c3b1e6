//! Parse, start, exit code.

fn main() -> std::process::ExitCode {
    #[cfg(feature = "failpoints")]
    floeberg::failpoint::arm();
    floeberg::cli::main()
}
