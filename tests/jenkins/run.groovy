// run.groovy LIBRARY WORKSPACE README: runs the shared library's step with the steps of Jenkins that it uses, as they behave: `sh` is a real shell
// in the workspace, credentials are variables of what runs inside, properties are read from files; and the README's pipeline, its blocks
// run one after the other. Prints `N passed, N failed`.
import groovy.json.JsonSlurper

def library = args[0], workspace = new File(args[1])
def registry = System.getenv('LONGSHORE_TEST_REGISTRY'), program = System.getenv('LONGSHORE')
def passed = 0, failed = 0
def check = { name, condition ->
    if (condition) { passed++; println "ok   $name" } else { failed++; println "FAIL $name" }
}

class Steps {
    File workspace
    Map<String, String> variables = [:]
    List<String> scripts = [], archived = [], containers = []
    Map currentBuild = [:]

    def sh(Map step) {
        scripts << step.script
        def builder = new ProcessBuilder('sh', '-c', step.script).directory(workspace).redirectErrorStream(true)
        builder.environment().putAll(variables)
        def process = builder.start()
        def output = process.inputStream.text
        if (process.waitFor() != 0) { throw new RuntimeException("script returned exit code ${process.exitValue()}\n$output") }
    }
    def withCredentials(List credentials, Closure body) {
        def before = variables.clone()
        credentials.each { variables[it.usernameVariable] = 'planted-user'; variables[it.passwordVariable] = 'planted-password' }
        try { body() } finally { variables = before }
    }
    def usernamePassword(Map binding) { binding }
    def container(String name, Closure body) { containers << name; body() }
    def readProperties(Map step) {
        def properties = new Properties()
        new File(workspace, step.file).withReader('ISO-8859-1') { properties.load(it) }
        properties
    }
    def archiveArtifacts(Map step) { assert step.fingerprint; archived << step.artifacts }
    def error(String message) { throw new IllegalArgumentException(message) }
}

def build = { Map parameters, Steps steps = new Steps(workspace: workspace) ->
    def script = new GroovyShell().parse(new File(library, 'vars/longshoreBuild.groovy'))
    script.metaClass.methodMissing = { String name, arguments -> steps.invokeMethod(name, arguments) }
    script.binding.setVariable('currentBuild', steps.currentBuild)
    [script.call(parameters), steps]
}
def registryDigest = { name -> ['skopeo', 'inspect', '--tls-verify=false', '--format', '{{.Digest}}', "docker://$name"].execute().text.trim() }
def label = { name, key -> new JsonSlurper().parseText(['skopeo', 'inspect', '--tls-verify=false', '--config', "docker://$name"].execute().text).config.Labels?.get(key) }
def further = ["--insecure-registry=$registry"]

def (image, steps) = build(destination: "$registry/jenkins/app:1", program: program, extraArgs: further, buildArgs: [GREETING: "it's \$HOME; `x`"],
                           labels: [greeting: 'a b'], describe: true)
check('the digest is the registry\'s', image.digest == registryDigest("$registry/jenkins/app:1"))
check('the map names the image', image.ref == "$registry/jenkins/app@${image.digest}" && image.name == "$registry/jenkins/app" && image.tag == '1' && image.tags == ['1'])
check('an argument is one word whatever is in it', label("$registry/jenkins/app:1", 'said') == "it's \$HOME; `x`")
check('labels', label("$registry/jenkins/app:1", 'greeting') == 'a b')
check('it runs in the container of the pod', steps.containers == ['longshore'])
check('a fingerprint is taken', steps.archived == ['.longshore/image.json'])
check('the build is described', steps.currentBuild.description == image.ref)
check('JSON says the same', new JsonSlurper().parse(new File(workspace, '.longshore/image.json')).toString().contains(image.digest))
check('another user can remove what was written', 'stat -c %a .longshore'.execute(null, workspace).text.trim() == '777')

(image, steps) = build(destination: ["$registry/jenkins/app:2", "$registry/jenkins/other:2"], program: program, container: '', fingerprint: false, extraArgs: further)
check('several names', registryDigest("$registry/jenkins/app:2") == image.digest && registryDigest("$registry/jenkins/other:2") == image.digest)
check('no container, no fingerprint', steps.containers == [] && steps.archived == [])

steps = new Steps(workspace: workspace, variables: [JENKINS_URL: 'http://127.0.0.1/', BUILD_TAG: 'jenkins-app-7', JOB_NAME: 'app/main', BRANCH_NAME: 'main', BRANCH_IS_PRIMARY: 'true'])
(image, steps) = build([images: "$registry/jenkins/tagged", tags: ['type=ref,event=branch', 'type=raw,value=latest,enable={{is_default_branch}}'], program: program, extraArgs: further], steps)
check('the map has all that it promises', new File(library, 'vars/longshoreBuild.groovy').text.readLines().find { it.contains('returns what was made as a Map:') } &&
      ['digest', 'ref', 'name', 'tag', 'tags', 'id', 'version'].every { image[it] } && image.size() == 7)
check('tags come from the branch', image.tags.sort() == ['latest', 'main'] && registryDigest("$registry/jenkins/tagged:main") == image.digest)

steps = new Steps(workspace: workspace)
try {
    build([destination: "$registry/jenkins/app:3", credentialsId: 'x', registry: 'registry.example.com', program: program, noPush: true, extraArgs: further], steps)
    check('credentials stand in no command', !steps.scripts.join().contains('planted'))
    check('credentials stand in no file', ['grep', '-rl', 'planted', '.longshore'].execute(null, workspace).text == '')
} catch (RuntimeException e) { check("a build with credentials: ${e.message}", false) }

['a parameter that is not there': [destinations: 'x'], 'credentials without a host': [destination: 'x', credentialsId: 'y']].each { name, parameters ->
    def message = ''
    try { build(parameters) } catch (IllegalArgumentException e) { message = e.message }
    check("refused: $name", message.startsWith('longshoreBuild: '))
}
def message = ''
try { build(destination: "$registry/jenkins/app:4", program: program, dockerfile: 'none', extraArgs: further) } catch (RuntimeException e) { message = e.message }
check('a failed build fails the step', message.contains('exit code') && message.contains('none'))

// The README's pipeline: the container of the pod is this machine, which has the program and the authority of the private registry.
def privateRegistry = System.getenv('LONGSHORE_TEST_REGISTRY_TLS'), job = "jenkins-${System.currentTimeMillis()}"
def pipeline = args[2] ? new File(args[2]).text : ''
check('the README\'s example is short', pipeline.readLines().size() in 1..10)
check('it is the one of examples/', pipeline == new File(library, 'examples/declarative.Jenkinsfile').text)
steps = new Steps(workspace: workspace, variables: [SSL_CERT_FILE: System.getenv('LONGSHORE_TEST_REGISTRY_CA'), DOCKER_AUTH_CONFIG: System.getenv('DOCKER_AUTH_CONFIG'),
                                                    JENKINS_URL: 'http://127.0.0.1/', BUILD_TAG: 'jenkins-app-7', BUILD_NUMBER: '7'])
def environment = [BUILD_NUMBER: '7'], yaml = []
def run = new GroovyShell().parse(pipeline.replace('@Library(\'longshore\') _', '').replace('registry.example.com', "$privateRegistry/$job"))
run.binding.setVariable('env', environment)
run.metaClass.methodMissing = { String name, arguments ->
    def last = arguments ? arguments[-1] : null
    if (name == 'longshoreBuild') { return build(last + [program: program], steps)[0] }
    if (name == 'libraryResource') { return new File(library, "resources/$last").text }
    if (name == 'yaml') { return yaml << last }
    if (last instanceof Closure) { return last() }
    throw new MissingMethodException(name, Script, arguments as Object[])
}
run.run()
def credential = "${System.getenv('LONGSHORE_TEST_REGISTRY_USER')}:${System.getenv('LONGSHORE_TEST_REGISTRY_PASSWORD')}"
def there = ['skopeo', 'inspect', '--tls-verify=false', '--creds', credential, '--format', '{{.Digest}}', "docker://$privateRegistry/$job/app:7"].execute().text.trim()
check('the README\'s example builds and pushes', there && environment.IMAGE == "$privateRegistry/$job/app@$there".toString())
check('it runs in the pod of the library', yaml.join().contains('kind: Pod') && steps.containers == ['longshore'])

println "$passed passed, $failed failed"
System.exit(failed == 0 ? 0 : 1)
