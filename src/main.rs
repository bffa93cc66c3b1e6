//! Parse, start, exit code.

// One-row requests take a fifth less of a processor than with glibc's allocator, and bodies of megabytes no more.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    #[cfg(feature = "failpoints")]
    floeberg::failpoint::arm();
    floeberg::cli::main()
}
