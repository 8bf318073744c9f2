//! Signatures without code of the product: HMAC written out from RFC 2104, so that code and test cannot share a mistake.

use sha2::{Digest, Sha256};

/// HMAC-SHA256 in lower-case hexadecimal.
pub(crate) fn hex_hmac(secret: &str, body: &[u8]) -> String {
    let mac = hmac(secret.as_bytes(), body);
    mac.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// HMAC-SHA256.
pub(crate) fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let mut block = [0_u8; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x36))
        .chain_update(data)
        .finalize();
    Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

#[test]
fn matches_the_vectors_of_rfc_4231() {
    // RFC 4231, test cases 2 and 6.
    assert_eq!(
        hex_hmac("Jefe", b"what do ya want for nothing?"),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
    let long = hmac(
        &[0xaa; 131],
        b"Test Using Larger Than Block-Size Key - Hash Key First",
    );
    assert_eq!(long[..4], [0x60, 0xe4, 0x31, 0x59]);
}
