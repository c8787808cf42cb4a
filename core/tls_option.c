/* SPDX-License-Identifier: MIT
   tls_option: what this OpenSSL has, by name: options and curves. */
#include "tls.h"

#include <openssl/ec.h>
#include <openssl/objects.h>
#include <strings.h>

struct option {
    const char *name;
    uint64_t bits;              /* 0: it is so in any case, or there is none any more */
};

static const struct option options[] = {
    { "all", SSL_OP_ALL },
    { "allow_client_renegotiation", SSL_OP_ALLOW_CLIENT_RENEGOTIATION },
    { "allow_no_dhe_kex", SSL_OP_ALLOW_NO_DHE_KEX },
    { "allow_unsafe_legacy_renegotiation", SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION },
    { "cipher_server_preference", SSL_OP_CIPHER_SERVER_PREFERENCE },
    { "cisco_anyconnect", SSL_OP_CISCO_ANYCONNECT },
    { "cleanse_plaintext", SSL_OP_CLEANSE_PLAINTEXT },
    { "cookie_exchange", SSL_OP_COOKIE_EXCHANGE },
    { "cryptopro_tlsext_bug", SSL_OP_CRYPTOPRO_TLSEXT_BUG },
    { "disable_tlsext_ca_names", SSL_OP_DISABLE_TLSEXT_CA_NAMES },
    { "dont_insert_empty_fragments", SSL_OP_DONT_INSERT_EMPTY_FRAGMENTS },
    { "enable_ktls", SSL_OP_ENABLE_KTLS },
    { "enable_middlebox_compat", SSL_OP_ENABLE_MIDDLEBOX_COMPAT },
    { "ephemeral_rsa", SSL_OP_EPHEMERAL_RSA },
    { "ignore_unexpected_eof", SSL_OP_IGNORE_UNEXPECTED_EOF },
    { "legacy_server_connect", SSL_OP_LEGACY_SERVER_CONNECT },
    { "microsoft_big_sslv3_buffer", SSL_OP_MICROSOFT_BIG_SSLV3_BUFFER },
    { "microsoft_sess_id_bug", SSL_OP_MICROSOFT_SESS_ID_BUG },
    { "msie_sslv2_rsa_padding", SSL_OP_MSIE_SSLV2_RSA_PADDING },
    { "netscape_ca_dn_bug", SSL_OP_NETSCAPE_CA_DN_BUG },
    { "netscape_challenge_bug", SSL_OP_NETSCAPE_CHALLENGE_BUG },
    { "netscape_demo_cipher_change_bug", SSL_OP_NETSCAPE_DEMO_CIPHER_CHANGE_BUG },
    { "netscape_reuse_cipher_change_bug", SSL_OP_NETSCAPE_REUSE_CIPHER_CHANGE_BUG },
    { "no_anti_replay", SSL_OP_NO_ANTI_REPLAY },
    { "no_compression", SSL_OP_NO_COMPRESSION },
    { "no_dtls_mask", SSL_OP_NO_DTLS_MASK },
    { "no_dtlsv1", SSL_OP_NO_DTLSv1 },
    { "no_dtlsv1_2", SSL_OP_NO_DTLSv1_2 },
    { "no_encrypt_then_mac", SSL_OP_NO_ENCRYPT_THEN_MAC },
    { "no_extended_master_secret", SSL_OP_NO_EXTENDED_MASTER_SECRET },
    { "no_query_mtu", SSL_OP_NO_QUERY_MTU },
    { "no_renegotiation", SSL_OP_NO_RENEGOTIATION },
    { "no_session_resumption_on_renegotiation", SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION },
    { "no_ssl_mask", SSL_OP_NO_SSL_MASK },
    { "no_sslv2", SSL_OP_NO_SSLv2 },
    { "no_sslv3", SSL_OP_NO_SSLv3 },
    { "no_ticket", SSL_OP_NO_TICKET },
    { "no_tlsv1", SSL_OP_NO_TLSv1 },
    { "no_tlsv1_1", SSL_OP_NO_TLSv1_1 },
    { "no_tlsv1_2", SSL_OP_NO_TLSv1_2 },
    { "no_tlsv1_3", SSL_OP_NO_TLSv1_3 },
    { "pkcs1_check_1", SSL_OP_PKCS1_CHECK_1 },
    { "pkcs1_check_2", SSL_OP_PKCS1_CHECK_2 },
    { "prioritize_chacha", SSL_OP_PRIORITIZE_CHACHA },
    { "safari_ecdhe_ecdsa_bug", SSL_OP_SAFARI_ECDHE_ECDSA_BUG },
    { "single_dh_use", SSL_OP_SINGLE_DH_USE },
    { "single_ecdh_use", SSL_OP_SINGLE_ECDH_USE },
    { "ssleay_080_client_dh_bug", SSL_OP_SSLEAY_080_CLIENT_DH_BUG },
    { "sslref2_reuse_cert_type_bug", SSL_OP_SSLREF2_REUSE_CERT_TYPE_BUG },
    { "tls_block_padding_bug", SSL_OP_TLS_BLOCK_PADDING_BUG },
    { "tls_d5_bug", SSL_OP_TLS_D5_BUG },
    { "tls_rollback_bug", SSL_OP_TLS_ROLLBACK_BUG },
    { "tlsext_padding", SSL_OP_TLSEXT_PADDING },
};

bool fern_tls_option(const char *name, uint64_t *bits)
{
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (strcasecmp(options[i].name, name) != 0)
            continue;
        *bits = options[i].bits;
        return true;
    }
    return false;
}

const char *fern_tls_option_name(size_t index)
{
    return index < sizeof options / sizeof *options ? options[index].name : NULL;
}

/* ---- curves ---- */

enum { CURVES_MAX = 128 };

/* Each of the built-in curves under two names, if it has two, and those that are none
   of OpenSSL's elliptic curves, but go by the same option. */
const char *fern_tls_curve_name(size_t index)
{
    static const char *const others[] = { "X25519", "X448" };
    EC_builtin_curve curves[CURVES_MAX];
    size_t count = EC_get_builtin_curves(curves, CURVES_MAX);
    if (index < 2)
        return others[index];
    size_t found = (index - 2) / 2;
    if (found >= count)
        return NULL;
    const char *name = OBJ_nid2sn(curves[found].nid), *nist = EC_curve_nid2nist(curves[found].nid);
    return index % 2 || !nist ? name : nist;
}
