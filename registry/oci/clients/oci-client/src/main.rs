//! The `oci-client` crate, which Spin and wkg stand on, pushes an image, pulls it back and lists it. Takes
//! the registry's address. With a secret in REGISTRY_SECRET it speaks TLS, to a registry that the
//! authority in REGISTRY_CA has certified, and shows the secret: by Basic to get a token for it, and as a
//! token itself. Exits non-zero, with a reason, on failure.

use std::error::Error;

use oci_client::client::{
    Certificate, CertificateEncoding, ClientConfig, ClientProtocol, Config, ImageLayer,
};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const LAYER: &str = "application/octet-stream";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // Wanted without TLS too: the client is made with it.
    rustls::crypto::ring::default_provider().install_default().map_err(|_| "no cryptography")?;
    let registry = std::env::args().nth(1).ok_or("the address of a registry is missing")?;
    let Ok(secret) = std::env::var("REGISTRY_SECRET") else {
        let config = ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() };
        round_trip(&registry, &Client::new(config), &RegistryAuth::Anonymous).await?;
        println!("oci-client: ok");
        return Ok(());
    };
    let (name, secret) = secret.split_once(':').ok_or("REGISTRY_SECRET is NAME:SECRET")?;
    let authority = std::fs::read(std::env::var("REGISTRY_CA")?)?;
    let client = || {
        let authority = Certificate { encoding: CertificateEncoding::Pem, data: authority.clone() };
        Client::new(ClientConfig { tls_certs_only: vec![authority], ..ClientConfig::default() })
    };
    let basic = |secret: &str| RegistryAuth::Basic(name.to_owned(), secret.to_owned());
    round_trip(&registry, &client(), &basic(secret)).await?;
    round_trip(&registry, &client(), &RegistryAuth::Bearer(secret.to_owned())).await?;
    for auth in [RegistryAuth::Anonymous, basic("eyot_wrong")] {
        if round_trip(&registry, &client(), &auth).await.is_ok() {
            return Err("it was served without a token that is good".into());
        }
    }
    println!("oci-client: ok");
    Ok(())
}

/// What comes back is checked by the client against its digest, and here against what was sent.
async fn round_trip(registry: &str, client: &Client, auth: &RegistryAuth) -> Result<()> {
    let image: Reference = format!("{registry}/clients/oci-client:1.0.0").parse()?;
    let content: Vec<u8> = (0..3_000_000_u32).map(|number| (number >> 4) as u8).collect();
    let layers = [ImageLayer::new(content.clone(), LAYER.to_owned(), None)];
    let config = Config::new("{}", EMPTY.to_owned(), None);
    client.push(&image, &layers, config, auth, None).await?;
    let pulled = client.pull(&image, auth, vec![LAYER]).await?;
    if pulled.layers.len() != 1 || pulled.layers[0].data != content {
        return Err("other bytes came back".into());
    }
    let tags = client.list_tags(&image, auth, None, None).await?.tags;
    if tags != ["1.0.0"] {
        return Err(format!("the tags are {tags:?}").into());
    }
    let digest = client.fetch_manifest_digest(&image, auth).await?;
    if pulled.digest.as_ref() != Some(&digest) {
        return Err(format!("the tag is {digest}, and what was pulled {:?}", pulled.digest).into());
    }
    let referrers = client.pull_referrers(&image.clone_with_digest(digest), None).await?;
    match referrers.manifests.len() {
        0 => Ok(()),
        count => Err(format!("{count} manifests refer to it, none was pushed").into()),
    }
}
