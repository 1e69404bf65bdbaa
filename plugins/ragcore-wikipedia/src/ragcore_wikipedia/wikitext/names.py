"""List the names that wikis in many languages give to the same thing.

A dump's `<siteinfo>` names the namespaces of its own language only, and pieces of dumps have another
wiki's or none. English names work in every wiki.
"""

from __future__ import annotations

import re

__all__ = [
    "CATEGORY",
    "DISAMBIGUATION",
    "FILE",
    "INFOBOX",
    "LANGUAGE_LINK",
    "LIST_CATEGORY",
    "LIST_TITLE",
    "APPARATUS",
]

FILE = frozenset(
    name.lower()
    for name in """File Image Media Datei Bild Fichier Archivo Imagen Arquivo Ficheiro Imagem
    Bestand Afbeelding Immagine Plik Grafika Файл Изображение Зображення Файл Tiedosto Kuva Fil
    Billede Soubor Súbor Obrázok Fájl Kép Fișier Imagine Fitxer Imatge Fitxategi Irudi Dosya Resim
    Αρχείο Εικόνα Датотека Слика Datoteka Slika Файл Картинка Выява Файл Сүрэт Şəkil Fayl Vaizdas
    Attēls Pilt Skrá Mynd Íomhá Delwedd Restr Skeudenn Dosiero ملف صورة پرونده تصویر وێنە קובץ תמונה
    चित्र छवि ছবি চিত্র படிமம் దస్త్రం ಚಿತ್ರ പ്രമാണം චිත්‍රය ไฟล์ ภาพ ဖိုင် ຮູບ រូបភាព 文件 檔案 档案 文件 图像 圖像 图片
    圖片 画像 ファイル 파일 그림 Tập_tin Hình Berkas Gambar Fail Wêne Larawan Talaksan Picha Beeld Lêer Fasciculus Imago
    Imaxe Ficheru Imachen Ofbyld Bilt Файл Պատկեր სურათი ფაილი Сурет""".split()
)

CATEGORY = frozenset(
    name.lower()
    for name in """Category Kategorie Catégorie Categoría Categoria Categorie Kategoria Kategori
    Категория Категорія Катэгорыя Kategória Luokka Κατηγορία Категорија Kategorija Kateqoriya
    Kategory Kategorio Flokkur Catagóir Categori Rummad Kategooria Kategoriija Categurìa Jamii
    Kategorya Turkum Категори Төркем Төркөм Санат Կատեգորիա კატეგორია تصنيف رده پۆل קטגוריה श्रेणी वर्ग
    বিষয়শ্রেণী பகுப்பு వర్గం ವರ್ಗ വർഗ്ഗം ප්‍රවර්ගය หมวดหมู่ ကဏ္ဍ 分类 分類 カテゴリ 분류 Thể_loại بؤلمه""".split()
)

# Codes that are not two or three letters; and three letters that are no language but a site.
LANGUAGE_LINK = re.compile(
    r"(?!(?:doi|rfc|mw|irc|cz|co|rev|wmf|oeis)$)"
    r"(?:[a-z]{2,3}|simple|be-(?:x-old|tarask)|zh-(?:min-nan|yue|classical)|roa-(?:rup|tara)|"
    r"bat-smg|fiu-vro|map-bms|nds-nl|cbk-zam|tokipona)"
)

INFOBOX = re.compile(
    r"info ?box|^info/|^info[ -]|infobok|infotaula|infokutu|infokast|inligtingskas|taxobox|speciesbox|"
    r"geobox|chembox|drugbox|starbox|planetbox|elementbox|mycomorphbox|^ficha |^sinottico|"
    r"tietolaatikko|faktamall|^fakta |^datos |bilgi kutusu|^boîte |personboks|thông tin|"
    r"карточка|картка|инфокутия|инфобокс|инфокутија|πληροφορίες|معلومات|جعبه|صندوق|ज्ञानसन्दूक|"
    r"माहितीचौकट|তথ্যছক|தகவல்|సమాచారపెట్టె|ಮಾಹಿತಿಚೌಕಟ್ಟು|กล่องข้อมูล|信息框|資訊框|资讯框|基礎情報|基础情报|"
    r"の情報|정보|տեղեկաքարտ|ინფოდაფა|^ინფო",
    re.IGNORECASE,
)

DISAMBIGUATION = frozenset(
    name.lower()
    for name in """disambig disambiguation dab disamb hndis geodis numberdis surname_disambig
    human_name_disambiguation place_name_disambiguation letter-number_combination_disambiguation
    mathdab schooldis school_disambiguation hospitaldis airport_disambiguation biology_disambiguation
    chemistry_disambiguation call_sign_disambiguation disambig-cleanup disambig_cleanup meta-disambig
    begriffsklärung homonymie paronymie patronymie toponymie internationalisation desambiguación
    desambiguacion desambiguação desambiguació desambiguació_lloc disambigua disambigua_nazione
    dp doorverwijspagina dpintro ujednoznacznienie неоднозначность многозначность
    неоднозначні_географічні_назви багатозначність неадназначнасць täsmennyssivu täsmennys förgrening
    gren flertydig flertydig_titel peker forgreining rozcestník rozlišovací_stránka rozlišovacia_stránka
    egyért egyértelműsítő egyert egyért2 dezambiguizare argipen anlam_ayrımı anlamayrımı αποσαφήνιση αποσαφ
    вишезначна_одредница višeznačna_odrednica razdvojba razločitev dəqiqləşdirmə daugiareikšmis
    nozīmju_atdalīšana täpsustuslehekülg täpsustus aðgreining idirdhealú gwahaniaethu disheñvelout
    apartigilo توضيح ابهام‌زدایی ابهام_زدایی ڕوونکردنەوە פירושונים बहुविकल्पी_शब्द বহুঅর্থ வழிப்படுத்துதல்
    అయోమయ_నివృత్తి แก้กำกวม แก้ความกำกวม 消歧义 消歧義 消歧义页 消歧義頁 aimai 曖昧さ回避 人名の曖昧さ回避 地名の曖昧さ回避 동음이의
    동음이의어_문서 định_hướng trang_định_hướng disambig_name disambiguasi nyahkekaburan dubbelsinnig discretiva
    homónimos homonimia բազմիմաստություն
    күп_мәгънәлелек күп_мәғәнәлелек trang_định_hướng_nhân_danh""".split()
)

LIST_TITLE = re.compile(
    r"(?:lists? of|outline of|index of|liste (?:der|des|von|de|du|d'|d’)|liste d|lista (?:de|dos|das|del|di|dei|"
    r"delle|degli|över|de les|dels)|elenco|lijst van|lijsten van|liste over|lister over|liste von|"
    r"luettelo |seznam |zoznam |popis |списък |список |спіс |списак |anexo:|llista |"
    r"danh sách |daftar |senarai |قائمة |فهرست |لیست |רשימת |κατάλογος |zerrenda|listo de )"
    r"|.*(?:listesi|siyahısı|一覧|列表|목록|の一覧|listája|luettelo|nimekiri|sąrašas|saraksts|ցանկ|سیاهه|सूची|তালিকা|பட்டியல்)$",
    re.IGNORECASE,
)

LIST_CATEGORY = re.compile(
    r"\[\[\s*[^\[\]|:]{3,30}:\s*(?:lists?\b|lists? of|liste\b|listen?\b|listas?\b|lijsten?\b|списки|"
    r"списъци|seznamy|listy\b|listor|lister\b|luettelot|קטגוריה:רשימות|قوائم|一覧|列表|목록)",
    re.IGNORECASE,
)

# Sections that hold references and links to other pages, no text on the subject.
APPARATUS = frozenset(
    name.lower().strip()
    for name in """References|Notes and references|References and notes|Footnotes|Citations|Notes
    |External links|External link|See also|Further reading|Einzelnachweise|Weblinks|Siehe auch|Literatur
    |Anmerkungen|Notes et références|Liens externes|Voir aussi|Articles connexes|Lien externe|Références
    |Referencias|Enlaces externos|Véase también|Referências|Ligações externas|Ver também|Note
    |Collegamenti esterni|Voci correlate|Altri progetti|Bronnen|Externe links|Externe link|Zie ook
    |Przypisy|Linki zewnętrzne|Zobacz też|Примечания|Ссылки|См. также|Примітки|Посилання|Див. також
    |Източници|Външни препратки|Вижте също|Lähteet|Aiheesta muualla|Katso myös|Källor|Externa länkar
    |Se även|Referenser|Kilder|Eksterne lenker|Eksterne henvisninger|Se også|Referanser|Reference
    |Externí odkazy|Odkazy|Související články|Jegyzetek|További információk|Kapcsolódó szócikkek
    |Kaynakça|Dış bağlantılar|Ayrıca bakınız|Παραπομπές|Εξωτερικοί σύνδεσμοι|Δείτε επίσης
    |Референце|Спољашње везе|Види још|مراجع|المراجع|وصلات خارجية|انظر أيضا|انظر أيضًا|منابع
    |پیوند به بیرون|جستارهای وابسته|הערות שוליים|קישורים חיצוניים|ראו גם|脚注|出典|外部リンク|関連項目|参考文献
    |参考资料|參考資料|外部链接|外部連結|参见|參見|각주|외부 링크|같이 보기|Tham khảo|Liên kết ngoài|Xem thêm
    |Referensi|Pranala luar|Lihat pula|Rujukan|Pautan luar|Referències|Enllaços externs|Vegeu també
    |Erreferentziak|Kanpo estekak|อ้างอิง|แหล่งข้อมูลอื่น|ดูเพิ่ม|சான்றுகள்|வெளி இணைப்புகள்|सन्दर्भ|बाहरी कड़ियाँ
    |Viited|Välislingid|Nuorodos|Šaltiniai|Literatūra|Atsauces|Ārējās saites""".replace(
        "\n", ""
    ).split("|")
)
