//! Looks for files, environment, arguments, a network and sockets of the host in WASI.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {
    fn run(_: &str) -> Result {
        use wasi::{
            cli::environment,
            filesystem::preopens,
            sockets::{instance_network, ip_name_lookup, network::IpAddressFamily, tcp_create_socket},
        };
        let network = instance_network::instance_network();
        let found = format!(
            "{} folders, {} variables, {} arguments, folder {:?}, name {:?}, socket {:?}",
            preopens::get_directories().len(),
            environment::get_environment().len(),
            environment::get_arguments().len(),
            environment::initial_cwd(),
            ip_name_lookup::resolve_addresses(&network, "localhost").map(drop),
            tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4).map(drop),
        );
        fail(found)
    }
}
