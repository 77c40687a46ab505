//! The signature at the end of a signed module:
//!
//! ```text
//! signer's name, key id, signature data, then the trailer of 12 bytes
//!     algorithm, hash, id type, length of the name, length of the key id, 3 bytes of padding,
//!     length of the data (4 bytes, big-endian whatever the module's own order)
//! and "~Module signature appended~\n"
//! ```

/// What is appended to a signed module. The fields are the trailer's, in its order.
#[derive(Clone, Debug)]
pub struct Signature {
    /// Public key algorithm: 0 DSA, 1 RSA; 0 for PKCS#7.
    pub algo: u8,
    /// Hash: 2 sha1, 4 sha256, 6 sha512; 0 for PKCS#7.
    pub hash: u8,
    /// 0 PGP, 1 X509, 2 PKCS#7.
    pub id_type: u8,
    /// Signer's name; empty for PKCS#7.
    pub signer: Vec<u8>,
    /// Key identifier; empty for PKCS#7.
    pub key_id: Vec<u8>,
    /// The signature proper; for PKCS#7 the DER message.
    pub data: Vec<u8>,
}

impl Signature {
    /// The form current kernels make: a PKCS#7 message (`der`) and an otherwise empty trailer.
    pub fn pkcs7(der: impl AsRef<[u8]>) -> Self {
        Signature {
            algo: 0,
            hash: 0,
            id_type: 2,
            signer: Vec::new(),
            key_id: Vec::new(),
            data: der.as_ref().to_vec(),
        }
    }

    /// The bytes that follow the module's own.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.signer);
        out.extend_from_slice(&self.key_id);
        out.extend_from_slice(&self.data);
        let (signer, key_id) = (self.signer.len() as u8, self.key_id.len() as u8);
        out.extend_from_slice(&[self.algo, self.hash, self.id_type, signer, key_id, 0, 0, 0]);
        out.extend_from_slice(&(self.data.len() as u32).to_be_bytes());
        out.extend_from_slice(b"~Module signature appended~\n");
        out
    }
}
