// A step of a shared library: hallpass(broker: …, idToken: …, credentials: […], script: …).
// `idToken` names a credential of the plugin oidc-provider whose audience is the broker's address.
def call(Map arguments) {
    withCredentials([string(credentialsId: arguments.idToken, variable: 'HALLPASS_ID_TOKEN')]) {
        withEnv([
            "HALLPASS_BROKER=${arguments.broker}",
            "HALLPASS_CREDENTIALS=${arguments.credentials.join(' ')}",
            "HALLPASS_COMMAND=${arguments.script}",
        ]) {
            sh libraryResource('hallpass.sh')
        }
    }
}
