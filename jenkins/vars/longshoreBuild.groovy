/**
 * Builds an image with longshore, pushes it, and returns what was made as a Map: digest, ref, name, tag, tags, id, version.
 *
 * Runs where the program is: in the `longshore` container of the pod template `pods/longshore.yaml`, or on an agent that has it on its PATH
 * (`container: ''`). See longshoreBuild.txt for the parameters.
 */
def call(Map args = [:]) {
    def known = ['destination', 'context', 'dockerfile', 'target', 'buildArgs', 'labels', 'images', 'tags', 'flavor', 'platform', 'noPush',
                 'credentialsId', 'registry', 'container', 'program', 'extraArgs', 'outputDir', 'fingerprint', 'describe']
    def unknown = args.keySet().findAll { !known.contains(it.toString()) }
    if (unknown) {
        error("longshoreBuild: unknown parameter ${unknown.join(', ')}; there are: ${known.join(', ')}")
    }
    def output = args.outputDir ?: '.longshore'
    def command = [args.program ?: '/longshore/longshore', 'build', '--context', (args.context ?: '.').toString(),
                   '--ci-output', "properties=${output}/image.properties".toString(), '--ci-output', "json=${output}/image.json".toString()]
    asList(args.destination).each { command += ['--destination', it] }
    asList(args.images).each { command += ['--images', it] }
    asList(args.tags).each { command += ['--tags', it] }
    asList(args.flavor).each { command += ['--flavor', it] }
    pairs(args.buildArgs).each { command += ['--build-arg', it] }
    pairs(args.labels).each { command += ['--label', it] }
    if (args.dockerfile) { command += ['--dockerfile', args.dockerfile.toString()] }
    if (args.target) { command += ['--target', args.target.toString()] }
    if (args.platform) { command += ['--custom-platform', args.platform.toString()] }
    if (args.images) { command << '--push' }
    if (args.noPush) { command << '--no-push' }
    command += asList(args.extraArgs)

    def properties = null
    def work = {
        // Files that any agent can remove again, whatever its user.
        def script = "mkdir -p -m 777 ${quoted(output)} && ${command.collect { quoted(it) }.join(' ')}"
        withCredentialsOf(args) { sh(label: "longshore build ${asList(args.destination).join(' ')}", script: script) }
        properties = readProperties(file: "${output}/image.properties")
    }
    def name = args.container == null ? 'longshore' : args.container
    if (name) { container(name, work) } else { work() }

    if (args.fingerprint == null || args.fingerprint) {
        archiveArtifacts(artifacts: "${output}/image.json", fingerprint: true)
    }
    if (args.describe) { currentBuild.description = properties.IMAGE_REF }
    return [digest: properties.IMAGE_DIGEST, ref: properties.IMAGE_REF, name: properties.IMAGE_NAME, tag: properties.IMAGE_TAG,
            tags: (properties.IMAGE_TAGS ?: '').tokenize(' '), id: properties.IMAGE_ID, version: properties.IMAGE_VERSION]
}

/** Runs the closure with the credentials in variables that longshore reads; they stand in no argument and in no file. */
private void withCredentialsOf(Map args, Closure body) {
    if (!args.credentialsId) {
        body()
        return
    }
    if (!args.registry) {
        error('longshoreBuild: credentialsId needs registry, the host that they are for')
    }
    def host = args.registry.toString().toUpperCase().replaceAll(/[^A-Z0-9]/, '_')
    withCredentials([usernamePassword(credentialsId: args.credentialsId.toString(), usernameVariable: "KANIKO_${host}_USER".toString(),
                                      passwordVariable: "KANIKO_${host}_PASSWORD".toString())]) { body() }
}

private static List asList(value) {
    if (value == null) { return [] }
    return (value instanceof Collection ? value : [value]).collect { it.toString() }
}

/** `NAME=VALUE` of a map, or of a list as it is. */
private static List pairs(value) {
    return value instanceof Map ? value.collect { "${it.key}=${it.value}".toString() } : asList(value)
}

/** One word of a POSIX shell, whatever is in it. */
private static String quoted(String word) {
    return "'" + word.replace("'", "'\\''") + "'"
}
