// Runs the job of docs/ci/jenkins.md, with stand-ins for the steps of Jenkins. See
// deploy/dev/jenkins-library.sh.
def folder = new File('deploy/ci/jenkins')
def variables = [:]
def ran = []

// The steps, as the plugins credentials-binding, workflow-basic-steps and workflow-durable-task-step
// document them. Variables are set within the block only.
def within = { Map more, Closure block ->
    def before = new LinkedHashMap(variables)
    variables.putAll(more)
    try {
        block()
    } finally {
        variables.clear()
        variables.putAll(before)
    }
}
def steps = [
    string: { Map arguments -> arguments },
    withCredentials: { List bindings, Closure block ->
        within(bindings.collectEntries { [it.variable, "token of ${it.credentialsId}".toString()] }, block)
    },
    withEnv: { List entries, Closure block ->
        within(entries.collectEntries { it.toString().split('=', 2) as List }, block)
    },
    libraryResource: { String name -> new File(folder, "resources/$name").text },
    sh: { String script -> ran << [script: script, variables: new LinkedHashMap(variables)] },
    node: { Closure block -> block() },
]
def shell = new GroovyShell(new Binding(steps))
def library = shell.parse(new File(folder, 'vars/hallpass.groovy'))
shell.context.setVariable('hallpass', { Map arguments -> library.call(arguments) })
shell.evaluate(new File(args[0]))

assert ran.size() == 1
assert ran[0].script == new File(folder, 'resources/hallpass.sh').text
assert ran[0].variables == [
    HALLPASS_ID_TOKEN: 'token of hallpass-token',
    HALLPASS_BROKER: 'https://hallpass.acme.dev',
    HALLPASS_CREDENTIALS: 'shop-db/migrate',
    HALLPASS_COMMAND: './migrate.sh',
]
// Nothing of a caller becomes code: a script with quotes and several credentials stay values.
ran.clear()
library.call(broker: 'b', idToken: 'i', credentials: ['A=a/b', 'C=c/d'], script: 'echo "$HOME"; echo \'x=y\'')
assert ran[0].variables.HALLPASS_CREDENTIALS == 'A=a/b C=c/d'
assert ran[0].variables.HALLPASS_COMMAND == 'echo "$HOME"; echo \'x=y\''
assert variables.isEmpty()
