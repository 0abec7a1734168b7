process LEGSCORE_RUN {
    tag "$meta.id"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    container 'legscore'

    input:
    tuple val(meta), path(table)
    path models
    path fasta
    path promoters

    output:
    tuple val(meta), path("${prefix}.${extension}"), emit: scores
    tuple val(meta), path("${prefix}.${extension}.run.json"), emit: record
    path 'versions.yml', emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}.scores"
    extension = task.ext.extension ?: (fasta ? 'vcf.gz' : 'parquet')
    def members = [models].flatten().findAll().collect { model -> "-m ${model}" }.join(' ')
    def genome = fasta ? "--fasta ${fasta}" : ''
    def genes = promoters ? "--promoters ${promoters}" : ''
    """
    legscore run ${table} ${members} ${genome} ${genes} \\
        -o ${prefix}.${extension} \\
        --threads ${task.cpus} \\
        --quiet \\
        ${args}

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        legscore: \$(legscore --version | sed 's/.* //')
    END_VERSIONS
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}.scores"
    extension = task.ext.extension ?: (fasta ? 'vcf.gz' : 'parquet')
    """
    touch ${prefix}.${extension} ${prefix}.${extension}.run.json

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        legscore: \$(legscore --version | sed 's/.* //')
    END_VERSIONS
    """
}
