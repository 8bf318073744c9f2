//! The program: everything is in the library, so that tests and the demo run the very same code.
fn main() -> std::process::ExitCode {
    stackhook::main()
}
