//! Parse, start, exit code.

fn main() -> std::process::ExitCode {
    floeberg::cli::main()
}
