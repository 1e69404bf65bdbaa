"""Word questions for facts of the World Factbook in many ways, by kind of fact.

Knows wordings only; `wording.py` varies how they are typed. `{c}` stands for the country as a
sentence says it ("the Maldives"), `{a}` for its adjective ("Maldivian"), `{o}` for the office,
`{d}` for a word such as "provinces". A reader trained on one wording a kind learns the wording; one
trained on hundreds learns the question.
"""

from __future__ import annotations

import random

from wording import roughen

__all__ = ["FACTS", "LEADERS", "ROLES", "ask_fact", "ask_leader"]

LEADERS = (
    "Who is the {o} of {c}?",
    "Who is {c}'s {o}?",
    "What is the name of the {o} of {c}?",
    "Name the {o} of {c}.",
    "Who holds the office of {o} in {c}?",
    "Who serves as {o} of {c}?",
    "Who currently serves as the {o} of {c}?",
    "Who is currently {o} of {c}?",
    "Which person is the {o} of {c}?",
    "Tell me who the {o} of {c} is.",
    "{o} of {c}",
    "The {o} of {c} is who?",
    "Do you know who the {o} of {c} is?",
    "Who is the current {o} of {c}?",
    "Who has been {o} of {c}?",
    "In {c}, who is {o}?",
    "Who is {o} in {c}?",
    "Who occupies the post of {o} in {c}?",
    "name of {c}'s {o}",
    "What's the name of {c}'s {o}?",
    "Who acts as {o} of {c}?",
    "Give the name of the {o} of {c}.",
    "Who works as the {o} of {c}?",
    "The office of {o} of {c} is held by whom?",
    "By whom is the position of {o} of {c} held?",
)

ROLES = {
    "chief of state": (
        "chief of state",
        "head of state",
        "chief of state",
        "head of state",
        "state's leader",
    ),
    "head of government": (
        "head of government",
        "head of the government",
        "government leader",
        "head of government",
    ),
    "representative": (
        "representative of the crown",
        "representative of the monarch",
        "crown's representative",
    ),
}
"""Words for a role, for questions that do not name the office."""

LEADER_EXTRA = {
    "head of government": (
        "Who heads the government of {c}?",
        "Who leads the government of {c}?",
        "Who is at the head of {c}'s government?",
        "By whom is {c}'s government led?",
        "Who runs the government in {c}?",
        "Who is the boss of {c}'s government?",
        "Whose government rules {c}?",
        "Who is in charge of the government of {c}?",
        "the one who leads {c}'s government",
        "Who chairs the cabinet of {c}?",
    ),
    "chief of state": (
        "Who is {c}'s head of state?",
        "Which person is head of state in {c}?",
        "Who heads the state of {c}?",
        "Who stands at the top of the state in {c}?",
        "Who represents {c} as its head of state?",
        "{c}'s formal head, who is it?",
        "Who is formally at the top in {c}?",
    ),
    "representative": ("Who represents the crown in {c}?", "Who represents the monarch in {c}?"),
}

FACTS: dict[str, tuple[str, ...]] = {
    "capital": (
        "What is the capital of {c}?",
        "Which city is the capital of {c}?",
        "What is the capital city of {c}?",
        "What is {c}'s capital?",
        "capital of {c}",
        "Name the capital of {c}.",
        "Which town is the seat of government of {c}?",
        "What city serves as the capital of {c}?",
        "Where is the capital of {c}?",
        "{c}'s capital city is called what?",
        "Tell me the capital of {c}.",
    ),
    "population": (
        "What is the population of {c}?",
        "How many people live in {c}?",
        "How many inhabitants does {c} have?",
        "population of {c}",
        "What is {c}'s population?",
        "How large is the population of {c}?",
        "How many residents are there in {c}?",
        "What is the number of people living in {c}?",
        "How populous is {c}?",
        "By how many people is {c} inhabited?",
    ),
    "area": (
        "What is the total area of {c}?",
        "What is the area of {c}?",
        "How large is {c}?",
        "How big is {c}?",
        "total area of {c}",
        "How many square kilometres does {c} cover?",
        "What area does {c} cover?",
        "What is the size of {c} in square kilometers?",
        "What is {c}'s area?",
        "How much territory does {c} have?",
    ),
    "coastline": (
        "How long is the coastline of {c}?",
        "What is the length of the coastline of {c}?",
        "coastline of {c}",
        "How many kilometres of coast does {c} have?",
        "How long is {c}'s coast?",
        "What is the coastline length of {c}?",
        "How much coastline has {c}?",
    ),
    "highest-point": (
        "What is the highest point in {c}?",
        "What is the highest mountain in {c}?",
        "Which is the highest point of {c}?",
        "What is {c}'s highest point?",
        "What is the name of the highest place in {c}?",
        "highest point in {c}",
        "What is the tallest peak of {c}?",
        "Which peak is the highest in {c}?",
        "Name the highest elevation in {c}.",
    ),
    "highest-elevation": (
        "How high is the highest point in {c}?",
        "What is the elevation of the highest point in {c}?",
        "What height does the highest point in {c} reach?",
        "How tall is the highest mountain in {c}?",
        "How many metres high is {c}'s highest point?",
        "At what elevation is the highest point of {c}?",
        "To what height does {c} rise?",
    ),
    "lowest-point": (
        "What is the lowest point in {c}?",
        "What is the lowest point of {c}?",
        "lowest point of {c}",
        "Which place is the lowest in {c}?",
        "Where is the lowest point of {c}?",
        "What is {c}'s lowest point?",
        "Name the lowest point in {c}.",
    ),
    "official-languages": (
        "What is one of the official languages of {c}?",
        "Name an official language of {c}.",
        "Which languages are official in {c}?",
        "Give one official language of {c}.",
        "What official languages does {c} have?",
    ),
    "official-language": (
        "What is the official language of {c}?",
        "Which language is official in {c}?",
        "What is {c}'s official language?",
        "official language of {c}",
        "Which language has official status in {c}?",
        "What language does {c} use officially?",
        "Name the official language of {c}.",
    ),
    "anthem": (
        "What is the name of the national anthem of {c}?",
        "What is the national anthem of {c}?",
        "What is {c}'s national anthem called?",
        "national anthem of {c}",
        "Which song is the national anthem of {c}?",
        "What is the title of {c}'s anthem?",
        "How is the anthem of {c} called?",
    ),
    "government-type": (
        "What is the form of government in {c}?",
        "What type of government does {c} have?",
        "What kind of government does {c} have?",
        "government type of {c}",
        "How is {c} governed?",
        "What is {c}'s system of government?",
        "What sort of state is {c}, by its government?",
        "Which form of government has {c}?",
    ),
    "demonym": (
        "What adjective describes something from {c}?",
        "What is the nationality adjective for {c}?",
        "What is the demonym adjective of {c}?",
        "How do you call something that comes from {c}?",
        "What is the adjective for {c}?",
        "Which adjective goes with {c}?",
        "What is the adjective of nationality of {c}?",
    ),
    "tld": (
        "What is the internet top-level domain of {c}?",
        "What is the internet country code of {c}?",
        "Which top-level domain does {c} use?",
        "internet domain of {c}",
        "What does {c}'s web addresses end in?",
        "What is {c}'s country code on the internet?",
        "What is the TLD of {c}?",
    ),
    "national-holiday": (
        "What is the national holiday of {c}?",
        "What is {c}'s national holiday called?",
        "national holiday of {c}",
        "Which holiday is the national holiday of {c}?",
        "What national day does {c} celebrate?",
        "Name the national holiday of {c}.",
    ),
    "national-holiday-date": (
        "On what date is the national holiday of {c} celebrated?",
        "When is the national holiday of {c}?",
        "On which day does {c} celebrate its national holiday?",
        "What is the date of {c}'s national holiday?",
        "When does {c} celebrate its national day?",
    ),
    "voting-age": (
        "At what age can people vote in {c}?",
        "What is the voting age in {c}?",
        "How old must one be to vote in {c}?",
        "voting age in {c}",
        "From what age may citizens of {c} vote?",
        "What is the age of suffrage in {c}?",
        "What age do you have to be to vote in {c}?",
    ),
    "life-expectancy": (
        "What is the life expectancy at birth in {c}?",
        "What is the life expectancy in {c}?",
        "How long do people live in {c} on average?",
        "life expectancy in {c}",
        "How many years can a newborn in {c} expect to live?",
        "To what age do people in {c} live on average?",
    ),
    "literacy": (
        "What is the literacy rate in {c}?",
        "What share of the population of {c} can read and write?",
        "literacy rate of {c}",
        "What percentage of people in {c} is literate?",
        "How high is literacy in {c}?",
        "How many percent of adults in {c} can read?",
    ),
    "largest-city": (
        "What is the largest urban area in {c}?",
        "Which city in {c} has the largest urban population?",
        "What is the largest city in {c}?",
        "What is {c}'s biggest city?",
        "biggest city of {c}",
        "Which is the most populous city of {c}?",
        "In which city of {c} do most people live?",
    ),
    "utc-offset": (
        "In which time zone is the capital of {c}?",
        "What is the time difference of {c}'s capital to UTC?",
        "Which UTC offset does the capital of {c} have?",
        "What time zone does {c} use?",
        "What is the time zone of {c}?",
        "UTC offset of {c}",
    ),
    "location": (
        "Where is {c} located?",
        "Where is {c}?",
        "In which part of the world is {c}?",
        "Where does {c} lie?",
        "location of {c}",
        "Whereabouts is {c} situated?",
        "In what region is {c} found?",
    ),
    "area-comparative": (
        "How does the area of {c} compare with a US state or city?",
        "How large is {c} compared with a US state?",
        "Compared with a US state or city, how big is {c}?",
        "To which US state or city is {c} similar in size?",
        "What is the comparative area of {c}?",
        "How does the size of {c} compare to places in the US?",
    ),
    "currency": (
        "What is the currency of {c}?",
        "What currency is used in {c}?",
        "Which currency does {c} use?",
        "currency of {c}",
        "What money do people pay with in {c}?",
        "In what currency does one pay in {c}?",
        "What is {c}'s money called?",
    ),
    "independence": (
        "When did {c} become independent?",
        "When did {c} gain independence?",
        "On what date did {c} gain its independence?",
        "date of independence of {c}",
        "Since when has {c} been independent?",
        "When was {c}'s independence?",
        "What is the date of {c}'s independence?",
    ),
    "independence-from": (
        "From which country did {c} gain independence?",
        "Which country did {c} become independent from?",
        "From whom did {c} gain independence?",
        "Who ruled {c} before its independence?",
        "Of which country was {c} a part before it became independent?",
    ),
    "divisions": (
        "How many {d} does {c} have?",
        "What is the number of {d} of {c}?",
        "Into how many {d} is {c} divided?",
        "How many {d} are there in {c}?",
        "number of {d} in {c}",
    ),
    "national-symbol": (
        "What is a national symbol of {c}?",
        "Name a national symbol of {c}.",
        "What is {c}'s national symbol?",
        "Which symbol stands for {c}?",
        "national symbol of {c}",
        "What symbolises {c}?",
    ),
    "mean-elevation": (
        "What is the mean elevation of {c}?",
        "What is the average elevation of {c}?",
        "How high does {c} lie on average?",
        "mean elevation of {c}",
        "What is {c}'s average height above sea level?",
    ),
    "long-name": (
        "What is the official long-form name of {c}?",
        "What is the conventional long form of the name {c}?",
        "What is the full name of {c}?",
        "What is the official name of {c}?",
        "How is {c} called officially?",
        "What is {c}'s full official name?",
    ),
    "former-name": (
        "What was a former name of {c}?",
        "What was {c} called before?",
        "Under what name was {c} formerly known?",
        "former name of {c}",
        "What did {c} use to be called?",
    ),
    "border-count": (
        "How many neighbouring countries does {c} have?",
        "How many countries border {c}?",
        "With how many countries does {c} share a border?",
        "What is the number of countries that border {c}?",
    ),
    "border": (
        "Which country shares a land border with {c}?",
        "Name a country that borders {c}.",
        "What is a neighbouring country of {c}?",
        "Which country is next to {c}?",
        "Give a neighbour of {c}.",
    ),
}


FACTS_MORE: dict[str, tuple[str, ...]] = {
    "capital": (
        "Which city is {c} governed from?",
        "In which city does the government of {c} sit?",
        "{c}, capital?",
        "What's the capital city of {c}",
        "What is the name of the {a} capital?",
        "the {a} capital",
        "Which is the {a} capital city?",
        "Where does the {a} parliament meet, in which capital?",
    ),
    "population": (
        "How many people are there in {c}?",
        "What number of people call {c} home?",
        "How many {a} people are there?",
        "How big is the {a} population?",
        "{c} population",
        "count of inhabitants, {c}",
        "How many citizens and residents does {c} count?",
        "People living in {c}: how many?",
    ),
    "area": (
        "What is the surface of {c}?",
        "{c} area in km2",
        "How much land and water does {c} take up?",
        "How many square km is {c}?",
        "How large is the {a} territory?",
        "the size of {c}",
    ),
    "coastline": (
        "How long is the {a} coast?",
        "How long is the shore of {c}?",
        "{c}'s coastline in kilometres",
        "How many km of sea shore has {c}?",
    ),
    "highest-point": (
        "Which mountain of {c} is the highest?",
        "What is the highest {a} mountain?",
        "Where would I stand to be as high as possible in {c}?",
        "{c} highest peak",
        "Which summit tops all others in {c}?",
    ),
    "highest-elevation": (
        "How high is the tallest {a} mountain?",
        "How many metres does the highest peak of {c} have?",
        "How far above the sea is the top of {c}?",
    ),
    "lowest-point": (
        "What is the lowest {a} point?",
        "Where is the ground lowest in {c}?",
        "What's the lowest place in {c}?",
    ),
    "official-languages": (
        "What do they speak officially in {c}?",
        "In which languages are laws written in {c}?",
        "Which languages do people in {c} speak?",
        "What language is spoken in {c}?",
        "{a} official languages",
    ),
    "official-language": (
        "What do people in {c} speak?",
        "What language do they speak in {c}?",
        "What's the language of {c}?",
        "the {a} official language",
        "Which tongue is the official one in {c}?",
    ),
    "anthem": (
        "What is the {a} national anthem?",
        "Which song do they play for {c} at the Olympics?",
        "What's the {a} anthem called?",
        "What is sung as the anthem in {c}?",
    ),
    "government-type": (
        "Is {c} a republic or a monarchy?",
        "What is the {a} form of government?",
        "What political system does {c} have?",
        "What kind of country is {c} politically?",
    ),
    "demonym": (
        "What do you call things from {c}?",
        "What word means that something is from {c}?",
        "adjective for {c}",
    ),
    "tld": (
        "What is the {a} internet domain?",
        "What do {a} websites end with?",
        "Which ending do web addresses in {c} have?",
    ),
    "national-holiday": (
        "What is the {a} national day?",
        "What do they celebrate as national holiday in {c}?",
        "Which day is the {a} national holiday?",
    ),
    "national-holiday-date": (
        "When is the {a} national day?",
        "What date is {c}'s national day?",
        "On which date do people in {c} celebrate their country?",
    ),
    "voting-age": (
        "When are you old enough to vote in {c}?",
        "How old do {a} voters have to be?",
        "Minimum age of voters in {c}?",
        "From what age on can I vote in {c}?",
    ),
    "life-expectancy": (
        "How old do people get in {c}?",
        "What age do {a} people reach on average?",
        "How long does a person live in {c}?",
        "How long can a baby born in {c} hope to live?",
        "{a} life expectancy",
    ),
    "literacy": (
        "How many people can read in {c}?",
        "What part of the {a} population can read and write?",
        "Can most people in {c} read: what share?",
    ),
    "largest-city": (
        "What is the biggest {a} city?",
        "Where do most people live in {c}, which city?",
        "largest {a} city",
        "Which town of {c} is the largest?",
    ),
    "utc-offset": (
        "What time is it in {c} compared to UTC?",
        "How many hours is {c} from Greenwich?",
        "the {a} time zone",
        "What's the time difference in {c}?",
    ),
    "location": (
        "Where in the world is {c}?",
        "Where on the map do I find {c}?",
        "On which continent is {c}?",
        "Where can {c} be found?",
    ),
    "area-comparative": (
        "What American state is about as big as {c}?",
        "Compared to America, how large is {c}?",
        "{c} is about the size of what?",
    ),
    "currency": (
        "What money do they use in {c}?",
        "What do I pay with in {c}?",
        "What is the {a} currency?",
        "the {a} money",
        "Which notes and coins do I need in {c}?",
        "What cash should I take to {c}?",
    ),
    "independence": (
        "How long has {c} been independent, since when?",
        "When did {c} get its freedom?",
        "the day of {a} independence",
        "In which year did {c} become a country of its own?",
    ),
    "independence-from": (
        "Whose colony was {c}?",
        "Who did {c} belong to before?",
        "Which power ruled {c} until independence?",
        "From whom did the {a} people become independent?",
    ),
    "divisions": (
        "{c} has how many {d}?",
        "How many {a} {d} are there?",
        "count of {d}, {c}",
    ),
    "national-symbol": (
        "Which animal or thing is the symbol of {c}?",
        "What is the {a} national symbol?",
        "What stands for {c} as its symbol?",
    ),
    "mean-elevation": (
        "What is the {a} mean elevation?",
        "How high up is {c} on average?",
    ),
    "long-name": (
        "What is {c} called in full?",
        "What's the formal name of {c}?",
        "the complete name of {c}",
    ),
    "former-name": (
        "How was {c} called in the past?",
        "What's an old name of {c}?",
        "What name did {c} have earlier?",
    ),
    "border-count": (
        "How many neighbours does {c} have?",
        "How many states touch {c}?",
    ),
    "border": (
        "Who are {c}'s neighbours?",
        "Which {a} neighbour is there?",
        "Which countries lie next to {c}?",
    ),
    # The following are answered from the newest edition's fields; see `FIELD_ANSWERS` in data.py.
    "religion": (
        "What is the main religion in {c}?",
        "What is the largest religion of {c}?",
        "Which faith do most people in {c} follow?",
        "What do people in {c} believe?",
        "What religion is most common in {c}?",
        "What is the {a} religion?",
        "religion of {c}",
        "What do most {a} people believe in?",
    ),
    "ethnic-group": (
        "What is the largest ethnic group in {c}?",
        "Which ethnic group is the biggest in {c}?",
        "What are most people in {c} ethnically?",
        "What is the main ethnicity in {c}?",
        "ethnic groups of {c}",
    ),
    "median-age": (
        "What is the median age in {c}?",
        "How old is the median person in {c}?",
        "What's the {a} median age?",
        "How old are people in {c} on average?",
    ),
    "birth-rate": (
        "What is the birth rate in {c}?",
        "How many births are there in {c} per thousand people?",
        "{a} birth rate",
        "How many babies are born in {c}?",
    ),
    "death-rate": (
        "What is the death rate in {c}?",
        "How many deaths per thousand people has {c}?",
        "{a} death rate",
        "How many people die in {c} each year per thousand?",
    ),
    "fertility": (
        "How many children does a woman in {c} have?",
        "What is the fertility rate of {c}?",
        "{a} fertility rate",
        "How many kids do women in {c} have on average?",
    ),
    "growth": (
        "How fast does the population of {c} grow?",
        "What is the population growth rate of {c}?",
        "{a} population growth",
    ),
    "infant-mortality": (
        "What is the infant mortality rate in {c}?",
        "How many babies die in {c} per thousand births?",
        "{a} infant mortality",
    ),
    "unemployment": (
        "What is the unemployment rate in {c}?",
        "How many people are out of work in {c}?",
        "What share of {a} workers has no job?",
        "How high is unemployment in {c}?",
        "{c} unemployment",
    ),
    "inflation": (
        "What is the inflation rate in {c}?",
        "How fast do prices rise in {c}?",
        "{a} inflation",
        "How high is inflation in {c}?",
    ),
    "gdp": (
        "What is the GDP of {c}?",
        "How large is the economy of {c}?",
        "How big is the {a} economy?",
        "What is {c}'s gross domestic product?",
        "{c} gdp",
    ),
    "gdp-per-capita": (
        "What is the GDP per capita in {c}?",
        "How rich is the average person in {c}?",
        "{a} GDP per head",
        "How much does a person in {c} produce a year?",
    ),
    "gdp-growth": (
        "How fast does the economy of {c} grow?",
        "What is the real GDP growth rate of {c}?",
        "{a} economic growth",
    ),
    "export-partner": (
        "Where do most exports of {c} go?",
        "Who buys the most from {c}?",
        "What is {c}'s main export partner?",
        "Which country is the largest customer of {c}?",
        "main {a} export partner",
    ),
    "import-partner": (
        "Where do most imports of {c} come from?",
        "Who sells the most to {c}?",
        "What is {c}'s main import partner?",
        "main {a} import partner",
    ),
    "export-good": (
        "What does {c} export?",
        "What is {c}'s main export?",
        "What does {c} sell abroad?",
        "{a} exports",
        "Which goods does {c} export?",
    ),
    "import-good": (
        "What does {c} import?",
        "What does {c} buy abroad?",
        "{a} imports",
        "Which goods does {c} import most?",
    ),
    "resource": (
        "What natural resources does {c} have?",
        "Name a natural resource of {c}.",
        "What is in the ground in {c}?",
        "{a} natural resources",
    ),
    "crop": (
        "What do farmers in {c} grow?",
        "What is the main crop of {c}?",
        "Name an agricultural product of {c}.",
        "{a} agriculture: what is grown?",
    ),
    "industry": (
        "What industries does {c} have?",
        "Name an industry of {c}.",
        "What does {c} make?",
        "{a} industry",
    ),
    "internet": (
        "How many people in {c} use the internet?",
        "What share of people in {c} is online?",
        "What percent of the {a} population uses the internet?",
        "internet users in {c}",
    ),
    "climate": (
        "What is the climate of {c}?",
        "What's the weather like in {c}?",
        "What kind of climate has {c}?",
        "{a} climate",
    ),
    "terrain": (
        "What does the land look like in {c}?",
        "What is the terrain of {c}?",
        "What kind of landscape has {c}?",
    ),
    "airports": (
        "How many airports does {c} have?",
        "number of airports in {c}",
        "How many {a} airports are there?",
    ),
    "military-share": (
        "How much does {c} spend on its military?",
        "What share of GDP goes to the army in {c}?",
        "{a} military expenditure",
    ),
    "obesity": (
        "How many adults in {c} are obese?",
        "What is the obesity rate in {c}?",
        "{a} obesity rate",
    ),
    "urban": (
        "What share of people in {c} lives in cities?",
        "How urban is {c}?",
        "urban population of {c}",
    ),
    "law": (
        "What legal system does {c} have?",
        "What kind of law has {c}?",
        "the {a} legal system",
    ),
    "debt": (
        "How large is the public debt of {c}?",
        "How much debt has {c}?",
        "{a} public debt",
    ),
    "dialling": (
        "What do registrations of {a} aircraft begin with?",
        "What is the aircraft prefix of {c}?",
    ),
    "doctors": (
        "How many doctors are there in {c} per thousand people?",
        "physician density of {c}",
    ),
}
"""More wordings: in passing, with the adjective, and of what the tables of facts do not ask."""

LEADERS_MORE = (
    "Who is the {a} {o}?",
    "who's the {a} {o}",
    "the {a} {o}",
    "What's the {a} {o} called?",
    "Name the {a} {o}.",
    "What is the name of the {a} {o}?",
    "{c} {o}",
    "{c}'s {o}",
    "{c}: who is {o}?",
    "Who's {o} of {c} now?",
    "Who is {o} of {c} at the moment?",
    "Whom do people in {c} call their {o}?",
    "Who currently has the job of {o} in {c}?",
    "What {o} does {c} have?",
    "Do you know the {a} {o}?",
    "Who is serving as the {a} {o}?",
)

BOTH_ROLES = (
    "Who leads {c}?",
    "Who runs {c}?",
    "Who rules {c}?",
    "Who is in charge of {c}?",
    "Who governs {c}?",
    "Who is the leader of {c}?",
    "Who is in power in {c}?",
    "the leader of {c}",
    "Who is the {a} leader?",
    "Who's running {c} these days?",
    "Who is the top politician of {c}?",
)
"""For a country in which one person heads state and government."""


def ask_fact(
    kind: str, country: str, rng: random.Random, *, adjective: str = "", division: str = ""
) -> str:
    """Draw a wording for a kind of fact, sometimes typed carelessly."""
    wordings = _usable((*FACTS.get(kind, ()), *FACTS_MORE.get(kind, ())), adjective)
    wording = rng.choice(wordings)
    return roughen(wording.format(c=country, a=adjective, d=division or "divisions"), rng)


def ask_leader(
    role: str,
    office: str,
    country: str,
    rng: random.Random,
    *,
    adjective: str = "",
    both: bool = False,
) -> str:
    """Draw a question for the holder of an office, by its title or by its role.

    With `both`, the holder heads state and government, so that a question may ask who leads.
    """
    draw = rng.random()
    if both and draw < 0.15:
        wording = rng.choice(_usable(BOTH_ROLES, adjective))
        return roughen(wording.format(c=country, a=adjective), rng)
    if draw < 0.3 and role in LEADER_EXTRA:
        return roughen(rng.choice(LEADER_EXTRA[role]).format(c=country), rng)
    named = rng.choice(ROLES.get(role, (role,))) if draw < 0.5 else office
    if rng.random() < 0.5:
        named = named.lower()
    wording = rng.choice(_usable((*LEADERS, *LEADERS_MORE), adjective))
    return roughen(wording.format(o=named, c=country, a=adjective), rng)


def _usable(wordings: tuple[str, ...], adjective: str) -> list[str]:
    return [wording for wording in wordings if adjective or "{a}" not in wording]
